// Faults on request: tests make a kernel call fail where the kernel itself cannot be provoked.
#pragma once

#include "weft/internal/atomic.h"

namespace weft::os {

enum class FaultPoint : unsigned char {
  kUringSetup,
  kUringEnter,
  kEpollAdd,
};

// Returns the errno to fail with, or 0 to go on. Null: nothing fails.
using FaultHook = int (*)(FaultPoint point);
inline Atomic<FaultHook> fault_hook{nullptr};

// 0, or the errno that the call shall fail with.
[[gnu::always_inline]] inline int InjectedFault(FaultPoint point) {
  // Set before what it shall affect begins.
  FaultHook hook = fault_hook.Load(kRelaxed<"fault.hook">);
  return hook == nullptr ? 0 : hook(point);
}

}  // namespace weft::os
