// What ASan and TSan must be told of: stacks that change under them. Empty in other builds.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/os/sanitizers.h"

#ifdef WEFT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WEFT_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace weft::runtime {

// Threads that a sanitizer starts beside the program's.
#ifdef WEFT_TSAN
inline constexpr int kSanitizerThreads = 1;
#else
inline constexpr int kSanitizerThreads = 0;
#endif

inline void UnpoisonStack([[maybe_unused]] uintptr_t lo, [[maybe_unused]] uintptr_t hi) {
#ifdef WEFT_ASAN
  __asan_unpoison_memory_region(reinterpret_cast<void*>(lo), hi - lo);
#endif
}

// Before a switch to the stack [lo, hi) / fiber. `fake_stack`: where the leaver's is kept; null
// when the leaver ends.
[[gnu::always_inline]] inline void BeforeSwitch([[maybe_unused]] void** fake_stack,
                                                [[maybe_unused]] uintptr_t lo,
                                                [[maybe_unused]] uintptr_t hi,
                                                [[maybe_unused]] void* fiber) {
#ifdef WEFT_ASAN
  __sanitizer_start_switch_fiber(fake_stack, reinterpret_cast<void*>(lo), hi - lo);
#endif
#ifdef WEFT_TSAN
  __tsan_switch_to_fiber(fiber, 0);
#endif
}

// First thing on the stack that was switched to.
[[gnu::always_inline]] inline void AfterSwitchTo([[maybe_unused]] void* fake_stack) {
#ifdef WEFT_ASAN
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

inline void* NewFiber() {
#ifdef WEFT_TSAN
  return __tsan_create_fiber(0);
#else
  return nullptr;
#endif
}
inline void DeleteFiber([[maybe_unused]] void* fiber) {
#ifdef WEFT_TSAN
  __tsan_destroy_fiber(fiber);
#endif
}
inline void* CurrentFiber() {
#ifdef WEFT_TSAN
  return __tsan_get_current_fiber();
#else
  return nullptr;
#endif
}

}  // namespace weft::runtime
