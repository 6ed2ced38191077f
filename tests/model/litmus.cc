// The explorer's own test: known small programs show exactly the outcomes that the memory model
// allows.
#include <cstdio>
#include <set>
#include <string>

#include "runtime/os/futex.h"
#include "tests/model/model.h"

namespace weft::model {
namespace {

using os::Atomic;
using os::Fence;
using Outcomes = std::set<int>;

constexpr int kMostOutcomes = 2048;
bool seen[kMostOutcomes];  // a run's own allocations do not outlive it

void See(int outcome) {
  seen[outcome] = true;
}

// The sites under test: each case runs with orders of its own.
Site& W = os::kRelease<"litmus.write">;
Site& R = os::kAcquire<"litmus.read">;
Site& F = os::kSeqCst<"litmus.fence">;
Site& X = os::kRelaxed<"litmus.relaxed">;

constexpr MemoryOrder kRlx = MemoryOrder::kRelaxed;
constexpr MemoryOrder kAcq = MemoryOrder::kAcquire;
constexpr MemoryOrder kRel = MemoryOrder::kRelease;
constexpr MemoryOrder kAcqRel = MemoryOrder::kAcqRel;
constexpr MemoryOrder kSc = MemoryOrder::kSeqCst;

template <bool kFences>
void StoreBuffering() {
  Atomic<int> x(0), y(0);
  int a = 0, b = 0;
  Spawn("T1", [&] {
    x.Store(1, W);
    if (kFences) Fence(F);
    a = y.Load(R);
  });
  Spawn("T2", [&] {
    y.Store(1, W);
    if (kFences) Fence(F);
    b = x.Load(R);
  });
  Join();
  See(a * 10 + b);
}

// One side has a compiler's fence only, the other a membarrier.
void StoreBufferingByMembarrier() {
  Atomic<int> x(0), y(0);
  int a = 0, b = 0;
  Spawn("T1", [&] {
    x.Store(1, W);
    os::AsymmetricFastFence();
    a = y.Load(R);
  });
  Spawn("T2", [&] {
    y.Store(1, W);
    os::Membarrier();
    b = x.Load(R);
  });
  Join();
  See(a * 10 + b);
}

template <bool kFences>
void MessagePassing() {
  Atomic<int> x(0), y(0);
  int a = 0, b = 0;
  Spawn("T1", [&] {
    x.Store(1, X);
    if (kFences) Fence(os::kRelease<"litmus.fence.release">);
    y.Store(1, W);
  });
  Spawn("T2", [&] {
    a = y.Load(R);
    if (kFences) Fence(os::kAcquire<"litmus.fence.acquire">);
    b = x.Load(X);
  });
  Join();
  See(a * 10 + b);
}

template <bool kFences>
void IndependentReads() {
  Atomic<int> x(0), y(0);
  int a = 0, b = 0, c = 0, d = 0;
  Spawn("T1", [&] { x.Store(1, W); });
  Spawn("T2", [&] { y.Store(1, W); });
  Spawn("T3", [&] {
    a = x.Load(R);
    if (kFences) Fence(F);
    b = y.Load(R);
  });
  Spawn("T4", [&] {
    c = y.Load(R);
    if (kFences) Fence(F);
    d = x.Load(R);
  });
  Join();
  See(a * 1000 + b * 100 + c * 10 + d);
}

void Coherence() {
  Atomic<int> x(0);
  int a = 0, b = 0;
  Spawn("T1", [&] {
    x.Store(1, W);
    x.Store(2, W);
  });
  Spawn("T2", [&] {
    a = x.Load(R);
    b = x.Load(R);
  });
  Join();
  See(a * 10 + b);
}

void WriteToRead() {
  Atomic<int> x(0), y(0);
  int a = 0, b = 0, c = 0;
  Spawn("T1", [&] { x.Store(1, X); });
  Spawn("T2", [&] {
    a = x.Load(X);
    y.Store(1, W);
  });
  Spawn("T3", [&] {
    b = y.Load(R);
    c = x.Load(X);
  });
  Join();
  See(a * 100 + b * 10 + c);
}

void LoadBuffering() {
  Atomic<int> x(0), y(0);
  int a = 0, b = 0;
  Spawn("T1", [&] {
    a = x.Load(R);
    y.Store(1, W);
  });
  Spawn("T2", [&] {
    b = y.Load(R);
    x.Store(1, W);
  });
  Join();
  See(a * 10 + b);
}

template <bool kFences>
void ShapeR() {  // the last y, what T2 read
  Atomic<int> x(0), y(0);
  int r = 0;
  Spawn("T1", [&] {
    x.Store(1, W);
    if (kFences) Fence(F);
    y.Store(1, W);
  });
  Spawn("T2", [&] {
    y.Store(2, W);
    if (kFences) Fence(F);
    r = x.Load(R);
  });
  Join();
  See(y.Load(X) * 10 + r);
}

void ShapeS() {  // what T2 read, the last x
  Atomic<int> x(0), y(0);
  int r = 0;
  Spawn("T1", [&] {
    x.Store(2, X);
    y.Store(1, W);
  });
  Spawn("T2", [&] {
    r = y.Load(R);
    x.Store(1, X);
  });
  Join();
  See(r * 10 + x.Load(X));
}

template <bool kFences>
void TwoWrites() {
  Atomic<int> x(0), y(0);
  Spawn("T1", [&] {
    x.Store(1, W);
    if (kFences) Fence(F);
    y.Store(2, W);
  });
  Spawn("T2", [&] {
    y.Store(1, W);
    if (kFences) Fence(F);
    x.Store(2, W);
  });
  Join();
  See(x.Load(X) * 10 + y.Load(X));
}

// A release; then another thread's relaxed RMW, or store; then an acquire.
template <bool kByStore>
void ReleaseSequence() {
  Atomic<int> x(0), d(0);
  int a = 0, b = 0;
  Spawn("T1", [&] {
    d.Store(1, X);
    x.Store(1, W);
  });
  Spawn("T2", [&] {
    int one = 1;
    if (!kByStore) {
      x.CompareExchange(one, 2, X);
    } else if (x.Load(X) == 1) {
      x.Store(2, X);
    }
  });
  Spawn("T3", [&] {
    a = x.Load(R);
    b = d.Load(X);
  });
  Join();
  See(a * 10 + b);
}

struct Case {
  const char* name;
  MemoryOrder write, read, fence;
  Outcomes expected;
  void (*body)();
};

Outcomes AllOfFour() {
  Outcomes all;
  for (int i = 0; i < 16; i++) {
    all.insert((i >> 3 & 1) * 1000 + (i >> 2 & 1) * 100 + (i >> 1 & 1) * 10 + (i & 1));
  }
  return all;
}

Outcomes Without(Outcomes all, int one) {
  all.erase(one);
  return all;
}

bool Run(const Case& c) {
  for (bool& one : seen) one = false;
  W.order = c.write;
  R.order = c.read;
  F.order = c.fence;
  Options options;
  options.preemptions = 1000;
  options.stale = 1000;
  const Result result = Explore(options, c.body);
  std::string outcomes;
  Outcomes got;
  for (int i = 0; i < kMostOutcomes; i++) {
    if (!seen[i]) continue;
    got.insert(i);
    outcomes += " " + std::to_string(i);
  }
  const bool right = result.complete && got == c.expected;
  printf("%-4s %-28s %6lu schedules: %s%s\n", right ? "ok" : "BAD", c.name, result.runs,
         outcomes.c_str(), result.failed ? (" " + result.what).c_str() : "");
  return right;
}

}  // namespace

// How many cases were wrong.
int RunLitmus() {
  const Outcomes four = AllOfFour();
  const Outcomes no1010 = Without(four, 1010);
  const Case cases[] = {
      {"SB relaxed", kRlx, kRlx, kSc, {0, 1, 10, 11}, StoreBuffering<false>},
      {"SB release, acquire", kRel, kAcq, kSc, {0, 1, 10, 11}, StoreBuffering<false>},
      {"SB seq_cst", kSc, kSc, kSc, {1, 10, 11}, StoreBuffering<false>},
      {"SB fences", kRlx, kRlx, kSc, {1, 10, 11}, StoreBuffering<true>},
      {"SB acq_rel fences", kRlx, kRlx, kAcqRel, {0, 1, 10, 11}, StoreBuffering<true>},
      {"SB membarrier", kRlx, kRlx, kSc, {1, 10, 11}, StoreBufferingByMembarrier},
      {"MP relaxed", kRlx, kRlx, kSc, {0, 1, 10, 11}, MessagePassing<false>},
      {"MP release, acquire", kRel, kAcq, kSc, {0, 1, 11}, MessagePassing<false>},
      {"MP release, relaxed", kRel, kRlx, kSc, {0, 1, 10, 11}, MessagePassing<false>},
      {"MP relaxed, acquire", kRlx, kAcq, kSc, {0, 1, 10, 11}, MessagePassing<false>},
      {"MP fences", kRlx, kRlx, kSc, {0, 1, 11}, MessagePassing<true>},
      {"IRIW relaxed", kRlx, kRlx, kSc, four, IndependentReads<false>},
      {"IRIW release, acquire", kRel, kAcq, kSc, four, IndependentReads<false>},
      {"IRIW seq_cst", kSc, kSc, kSc, no1010, IndependentReads<false>},
      {"IRIW fences", kRlx, kRlx, kSc, no1010, IndependentReads<true>},
      {"CoRR relaxed", kRlx, kRlx, kSc, {0, 1, 2, 11, 12, 22}, Coherence},
      {"WRC relaxed", kRlx, kRlx, kSc, {0, 1, 10, 11, 100, 101, 110, 111}, WriteToRead},
      // T2 reads x relaxed: but coherence still orders T3's read after it.
      {"WRC release, acquire", kRel, kAcq, kSc, {0, 1, 10, 11, 100, 101, 111}, WriteToRead},
      // C++ allows 11 too: see model.h, what is not covered.
      {"LB relaxed", kRlx, kRlx, kSc, {0, 1, 10}, LoadBuffering},
      {"LB release, acquire", kRel, kAcq, kSc, {0, 1, 10}, LoadBuffering},
      {"2+2W relaxed", kRlx, kRlx, kSc, {11, 12, 21, 22}, TwoWrites<false>},
      {"2+2W release", kRel, kAcq, kSc, {11, 12, 21, 22}, TwoWrites<false>},
      {"2+2W fences", kRlx, kRlx, kSc, {12, 21, 22}, TwoWrites<true>},
      {"2+2W seq_cst", kSc, kSc, kSc, {12, 21, 22}, TwoWrites<false>},
      {"R relaxed", kRlx, kRlx, kSc, {10, 11, 20, 21}, ShapeR<false>},
      {"R fences", kRlx, kRlx, kSc, {10, 11, 21}, ShapeR<true>},
      {"R seq_cst", kSc, kSc, kSc, {10, 11, 21}, ShapeR<false>},
      {"S relaxed", kRlx, kRlx, kSc, {1, 2, 11, 12}, ShapeS},
      {"S release, acquire", kRel, kAcq, kSc, {1, 2, 11}, ShapeS},
      {"release sequence by RMW", kRel, kAcq, kSc, {0, 1, 11, 21}, ReleaseSequence<false>},
      {"release sequence, store", kRel, kAcq, kSc, {0, 1, 11, 20, 21}, ReleaseSequence<true>},
  };
  int wrong = 0;
  for (const Case& c : cases) wrong += Run(c) ? 0 : 1;
  W.order = W.written;
  R.order = R.written;
  F.order = F.written;
  return wrong;
}

}  // namespace weft::model
