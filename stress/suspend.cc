// Suspenders against goroutines that compute, park, block, begin and end; against each other, who
// scans, and changes of the number of Ps.
//
// What must hold: what is suspended does not go on until it is resumed, nobody is resumed twice or
// forgotten (every goroutine ends), and no two wait for each other.
#include "runtime/suspend.h"

#include <array>
#include <atomic>

#include "runtime/sched.h"
#include "stress/harness.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/runtime.h"
#include "weft/waitgroup.h"

namespace {

using stress::Harness;
using stress::Random;
using stress::Require;

constexpr int kWorkers = 8;
constexpr int kSuspenders = 3;
constexpr int kLooksEach = 200;

// What a worker did, counted outside of the runtime: nothing is added while it is suspended.
struct Worker {
  std::atomic<weft::runtime::G*> g{nullptr};
  std::atomic<uint64_t> steps{0};
};

struct Round {
  std::array<Worker, kWorkers + kSuspenders> workers;
  std::atomic<bool> done{false};
};

void Poll() {
  const weft::runtime::Entry poll;
}

void Step(Worker& worker, Random& random, weft::Chan<int>& chan) {
  worker.steps.fetch_add(1, std::memory_order_relaxed);
  switch (random.Below(5)) {
    case 0:
      weft::Yield();
      break;
    case 1:
      // A send finds a receiver, or a place, or gives way: nobody waits for ever.
      if (!chan.TrySend(1)) (void)chan.TryReceive();
      break;
    case 2:
      weft::Blocking([] {});
      break;
    default:
      for (int i = 0; i < 100; i++) Poll();
  }
}

struct Look {
  Worker* worker;
  bool moved;
};

void CheckStill(weft::runtime::G* g, void* arg) {
  Look& look = *static_cast<Look*>(arg);
  // In Blocking it computes on.
  const uint32_t status = weft::runtime::ReadGStatus(g);
  if (weft::runtime::StateOf(status) == weft::runtime::Gsyscall) return;
  const uint64_t before = look.worker->steps.load(std::memory_order_relaxed);
  for (int i = 0; i < 200; i++) {
    if (look.worker->steps.load(std::memory_order_relaxed) != before) look.moved = true;
  }
}

void Suspender(Round& round, int self, Random random) {
  Worker& own = round.workers[static_cast<size_t>(kWorkers + self)];
  for (int i = 0; i < kLooksEach; i++) {
    Worker& worker = round.workers[random.Below(round.workers.size())];
    weft::runtime::G* g = worker.g.load(std::memory_order_acquire);
    if (g == nullptr || &worker == &own) continue;
    Look look{&worker, false};
    {
      weft::runtime::Entry entry;
      weft::runtime::LookAt(entry.m(), g, CheckStill, &look);
    }
    Require(!look.moved, "a suspended goroutine stands still");
    own.steps.fetch_add(1, std::memory_order_relaxed);
    stress::Progress();
  }
}

// As a dump does: holds the goroutine where it is, if it does not run.
void ScanFor(Worker& worker) {
  weft::runtime::G* g = worker.g.load(std::memory_order_acquire);
  if (g == nullptr) return;
  const weft::runtime::Entry entry;
  const uint32_t state = weft::runtime::ReadGStatus(g);
  if (state != weft::runtime::Gwaiting && state != weft::runtime::Grunnable) return;
  const auto held = static_cast<weft::runtime::GState>(state);
  if (!weft::runtime::CasToGScanStatus(g, held)) return;
  const uint64_t before = worker.steps.load(std::memory_order_relaxed);
  for (int i = 0; i < 100'000; i++) {
    Require(worker.steps.load(std::memory_order_relaxed) == before, "it stands");
  }
  weft::runtime::CasFromGScanStatus(g, held);
}

void OneRound(Harness& harness) {
  Round round;
  weft::Chan<int> chan(4);
  weft::WaitGroup workers;
  weft::WaitGroup suspenders;
  for (int i = 0; i < kWorkers; i++) {
    workers.Go([&, i, random = harness.NewRandom()]() mutable {
      Worker& worker = round.workers[static_cast<size_t>(i)];
      worker.g.store(weft::runtime::GetM()->curg, std::memory_order_release);
      while (!round.done.load(std::memory_order_relaxed)) Step(worker, random, chan);
    });
  }
  for (int i = 0; i < kSuspenders; i++) {
    suspenders.Go([&, i, random = harness.NewRandom()] {
      round.workers[static_cast<size_t>(kWorkers + i)].g.store(weft::runtime::GetM()->curg,
                                                               std::memory_order_release);
      Suspender(round, i, random);
    });
  }
  // Some end, and their Gs are used again.
  Random random = harness.NewRandom();
  for (int i = 0; i < 20; i++) {
    weft::WaitGroup child;
    child.Go([] { weft::Yield(); });
    child.Wait();
    if (random.OneIn(4)) weft::MaxProcs(static_cast<int>(1 + random.Below(8)));
    ScanFor(round.workers[random.Below(round.workers.size())]);
  }
  suspenders.Wait();
  round.done.store(true, std::memory_order_relaxed);
  workers.Wait();
  weft::MaxProcs(harness.procs());
}

}  // namespace

int main(int argc, char** argv) {
  return stress::Run(argc, argv, OneRound);
}
