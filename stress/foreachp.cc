// Functions run for every P, against goroutines that compute, yield and block, and against stops of
// the world that change the number of Ps (f0dd0028).
//
// What must hold: each P there is runs the function once, before ForEachP returns.
#include <array>
#include <atomic>

#include "runtime/sched.h"
#include "stress/harness.h"
#include "weft/go.h"
#include "weft/runtime.h"
#include "weft/waitgroup.h"

namespace {

using stress::Harness;
using stress::Random;
using stress::Require;

constexpr int kWorkers = 16;
constexpr int kCalls = 50;
constexpr int kMostProcs = 16;

struct Runs {
  std::array<std::atomic<int>, kMostProcs> of{};
};

void CountRun(weft::runtime::P* p, void* runs) {
  static_cast<Runs*>(runs)->of[static_cast<size_t>(p->id)].fetch_add(1, std::memory_order_relaxed);
}

void CallForAll() {
  Runs runs;
  weft::runtime::LockWorld();
  int procs = 0;
  {
    weft::runtime::Entry entry;
    procs = weft::MaxProcs(0);
    weft::runtime::ForEachP(entry.m(), CountRun, &runs);
  }
  weft::runtime::UnlockWorld();
  for (int i = 0; i < kMostProcs; i++) {
    const int ran = runs.of[static_cast<size_t>(i)].load(std::memory_order_relaxed);
    Require(ran == (i < procs ? 1 : 0), "each P runs it once");
  }
}

void Work(Random random, const std::atomic<bool>& done) {
  while (!done.load(std::memory_order_relaxed)) {
    switch (random.Below(4)) {
      case 0:
        weft::Yield();
        break;
      case 1:
        weft::Blocking([] {});
        break;
      case 2:
        weft::Go([] {});
        break;
      default:
        for (int i = 0; i < 100; i++) const weft::runtime::Entry poll;
    }
  }
}

void OneRound(Harness& harness) {
  std::atomic<bool> done{false};
  weft::WaitGroup workers;
  for (int i = 0; i < kWorkers; i++) {
    workers.Go([&done, random = harness.NewRandom()] { Work(random, done); });
  }
  weft::WaitGroup callers;
  for (int i = 0; i < 2; i++) {
    callers.Go([random = harness.NewRandom()]() mutable {
      for (int k = 0; k < kCalls; k++) {
        if (random.OneIn(3)) weft::MaxProcs(static_cast<int>(1 + random.Below(kMostProcs)));
        CallForAll();
        stress::Progress();
      }
    });
  }
  callers.Wait();
  done.store(true, std::memory_order_relaxed);
  workers.Wait();
  weft::MaxProcs(harness.procs());
}

}  // namespace

int main(int argc, char** argv) {
  return stress::Run(argc, argv, OneRound);
}
