// Futexes, and the fence whose cost is all on one side.
#pragma once

#include <cstdint>

#include "weft/internal/atomic.h"

namespace weft::os {

enum class FutexResult : uint8_t { kWoken, kChanged, kTimedOut };

// Sleeps while `word` holds `expected`, at most `timeout_ns` (< 0: for ever). May return kWoken
// without cause.
FutexResult FutexWait(const Atomic<uint32_t>& word, uint32_t expected, int64_t timeout_ns = -1);
void FutexWake(const Atomic<uint32_t>& word, int count);

// membarrier(PRIVATE_EXPEDITED): when it returns, every running thread of the process has passed
// a full fence since the call began. Where the kernel refuses it (probed once at start), a full
// fence in both AsymmetricFastFence and here. False: refused now though it was not at the start (a
// filter, no memory); nothing was ordered.
bool Membarrier();
extern bool membarrier_refused;

[[gnu::always_inline]] inline void AsymmetricFastFence() {
  LightFence();
  if (membarrier_refused) [[unlikely]]
    Fence(kSeqCst<"asymmetric.fallback">);
}

}  // namespace weft::os
