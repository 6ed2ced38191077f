// What micro times and counts counts, as bench/peers/gobench.go does it.
#pragma once

#include <cstdint>

#include "weft/chan.h"
#include "weft/go.h"
#include "weft/runtime.h"
#include "weft/waitgroup.h"

namespace paths {

inline void Yield(int64_t n) {
  weft::WaitGroup group;
  for (int g = 0; g < 2; g++) {
    group.Go([n] {
      for (int64_t i = 0; i < n / 2; i++) weft::Yield();
    });
  }
  group.Wait();
}

inline void Spawn(int64_t n) {
  weft::WaitGroup group;
  for (int64_t i = 0; i < n; i++) {
    group.Add(1);
    weft::Go([&group] { group.Done(); });
    if (i % 1000 == 999) group.Wait();
  }
  group.Wait();
}

inline void PingPong(int64_t n) {
  weft::Chan<int64_t> there;
  weft::Chan<int64_t> back;
  weft::Go([there, back]() mutable {
    for (int64_t value : there) {
      if (!back.Send(value)) return;
    }
  });
  for (int64_t i = 0; i < n; i++) {
    if (!there.Send(i) || !back.Receive()) return;
  }
  there.Close();
}

}  // namespace paths
