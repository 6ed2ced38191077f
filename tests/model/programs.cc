// The explorer's other test of its own: random small programs. What a search finds that merges
// states must be all that one without finds, within the same bounds (merge.h).
#include <cstdio>
#include <cstring>

#include "runtime/os/clock.h"
#include "runtime/os/futex.h"
#include "tests/model/engine.h"

namespace weft::model {
namespace {

Site& L = os::kAcquire<"program.load">;
Site& S = os::kRelease<"program.store">;
Site& U = os::kAcqRel<"program.rmw">;
Site& F = os::kSeqCst<"program.fence">;
Site& X = os::kRelaxed<"program.relaxed">;

enum class Op : uint8_t {
  kLoad,
  kStore,
  kAdd,
  kCompareExchange,
  kBranch,
  kFence,
  kMembarrier,
  kWait,
  kWake,
  kSpinPause,
  kGiveWay,
  kKnown,
  kChoose,
  kClock,
};
constexpr int kOps = static_cast<int>(Op::kClock) + 1;

struct Instruction {
  Op op;
  bool ordered;
  int at;
  uint32_t value;
};
constexpr int kMostThreads = 3;
constexpr int kMostLocations = 3;
constexpr int kMostInstructions = 5;
struct Program {
  int threads, locations;
  int length[kMostThreads];
  Instruction code[kMostThreads][kMostInstructions];
};
Program program;

// Outcomes by their hashes; a run's own allocations do not outlive it.
struct Outcomes {
  static constexpr uint64_t kSize = 1 << 16;
  uint64_t key[kSize];

  uint64_t* Find(uint64_t hash) {
    hash |= 1;
    uint64_t i = hash % kSize;
    while (key[i] != 0 && key[i] != hash) i = (i + 1) % kSize;
    return &key[i];
  }
};
Outcomes merged, all;
Outcomes* outcomes;

struct Machine {
  os::Atomic<uint32_t> location[kMostLocations];
  Known<uint32_t> known = 0;
  uint64_t learnt[kMostThreads] = {};
};

void Perform(Machine& m, int thread, const Instruction& i) {
  uint64_t& learnt = m.learnt[thread];
  os::Atomic<uint32_t>& here = m.location[i.at];
  os::Atomic<uint32_t>& next = m.location[(i.at + 1) % program.locations];
  Site& load = i.ordered ? L : X;
  Site& store = i.ordered ? S : X;
  Site& rmw = i.ordered ? U : X;
  switch (i.op) {
    case Op::kLoad:
      learnt = Mixed(learnt, here.Load(load));
      break;
    case Op::kStore:
      here.Store(i.value, store);
      break;
    case Op::kAdd:
      learnt = Mixed(learnt, here.FetchAdd(i.value, rmw));
      break;
    case Op::kCompareExchange: {
      uint32_t expected = i.value - 1;
      learnt = Mixed(learnt, here.CompareExchange(expected, i.value, rmw) ? 9 : expected);
      break;
    }
    case Op::kBranch:
      if (here.Load(load) != 0) {
        learnt = Mixed(learnt, next.Load(X));
      } else {
        next.Store(i.value, X);
      }
      break;
    case Op::kFence:
      os::Fence(F);
      break;
    case Op::kMembarrier:
      os::Membarrier();
      break;
    case Op::kWait:
      os::FutexWait(here, i.value - 1, i.ordered ? 1000 : 2000);
      break;
    case Op::kWake:
      os::FutexWake(here, static_cast<int>(i.value));
      break;
    case Op::kSpinPause:
      SpinPause();
      break;
    case Op::kGiveWay:
      GiveWay();
      break;
    case Op::kKnown:
      learnt = Mixed(learnt, m.known);
      m.known = i.value + 10 * static_cast<uint32_t>(thread);
      break;
    case Op::kChoose:
      learnt = Mixed(learnt, static_cast<uint64_t>(Choose(2)));
      break;
    case Op::kClock:
      learnt = Mixed(learnt, static_cast<uint64_t>(os::Nanotime()));
      break;
  }
}

void Body() {
  Machine m;
  for (int t = 0; t < program.threads; t++) {
    Spawn("thread", [&m, t] {
      for (int i = 0; i < program.length[t]; i++) Perform(m, t, program.code[t][i]);
    });
  }
  Join();
  uint64_t outcome = m.known;
  for (uint64_t learnt : m.learnt) outcome = Mixed(outcome, learnt);
  for (auto& location : m.location) outcome = Mixed(outcome, location.Load(X));
  uint64_t* place = outcomes->Find(outcome);
  *place = outcome | 1;
}

// What the search returns, and all outcomes.
Result Collect(Outcomes* out, const Options& o) {
  memset(out->key, 0, sizeof(out->key));
  outcomes = out;
  return Explore(o, Body);
}

uint64_t generator;
int Below(int n) {
  generator += 0x9e3779b97f4a7c15;
  uint64_t z = (generator ^ generator >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return static_cast<int>((z >> 33) % static_cast<uint64_t>(n));
}

void MakeProgram(int number) {
  generator = static_cast<uint64_t>(number) * 0xd1342543de82ef95;
  program.threads = 2 + Below(kMostThreads - 1);
  program.locations = 1 + Below(kMostLocations);
  for (int t = 0; t < program.threads; t++) {
    program.length[t] = 1 + Below(program.threads == 2 ? kMostInstructions : 4);
    for (int i = 0; i < program.length[t]; i++) {
      program.code[t][i] = {static_cast<Op>(Below(kOps)), Below(2) == 1, Below(program.locations),
                            1 + static_cast<uint32_t>(Below(2))};
    }
  }
}

// Some search is too long, or the program itself fails (all may sleep for ever).
constexpr int kNotCompared = -1;

int CountMissing() {
  int missing = 0;
  for (uint64_t outcome : all.key) missing += outcome != 0 && *merged.Find(outcome) == 0 ? 1 : 0;
  return missing;
}

// Outcomes that merging loses, within bounds and without any.
int CountLost(int number) {
  MakeProgram(number);
  Options o;
  o.preemptions = Below(4);
  o.stale = Below(3);
  o.most_runs = 30'000;
  if (!Collect(&merged, o).complete) return kNotCompared;
  o.merge = false;
  if (!Collect(&all, o).complete) return kNotCompared;
  const int lost = CountMissing();
  o.merge = true;
  o.unbounded = true;
  return Collect(&merged, o).complete ? lost + CountMissing() : lost;
}

}  // namespace

// How many programs lost an outcome, of so many.
int RunPrograms(int programs) {
  int wrong = 0;
  int compared = 0;
  for (int number = 1; number <= programs; number++) {
    const int lost = CountLost(number);
    if (lost == kNotCompared) continue;
    compared++;
    if (lost == 0) continue;
    wrong++;
    printf("BAD  program %d: merging loses %d outcomes\n", number, lost);
  }
  printf("%-4s %d of %d random programs compared\n", wrong == 0 ? "ok" : "BAD", compared, programs);
  return wrong;
}

}  // namespace weft::model
