// Two things at the same moment.
#pragma once

#include <atomic>

#include "weft/go.h"
#include "weft/runtime.h"
#include "weft/waitgroup.h"

namespace weft::testing {

inline constexpr int kSpins = 10'000;

// Calls `a()` and `b()` on two goroutines that first wait for each other; which one is ahead, and
// by how much, changes with `round`.
template <class A, class B>
void Race(int round, A a, B b) {
  const int patience = MaxProcs(0) > 1 ? kSpins : 1;
  std::atomic<int> arrived{0};
  const auto meet = [&arrived, patience](int spins) {
    arrived.fetch_add(1);
    // Long enough for another P to steal the other one, so that they really run at once.
    for (int i = 1; arrived.load() < 2; i++) {
      if (i % patience == 0) Yield();
    }
    for (int i = 0; i < spins; i++) arrived.load();
  };
  WaitGroup group;
  group.Go([&] {
    meet(round * 37 % 1009);
    a();
  });
  group.Go([&] {
    meet(round * 53 % 997);
    b();
  });
  group.Wait();
}

}  // namespace weft::testing
