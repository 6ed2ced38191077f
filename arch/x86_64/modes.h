// The floating-point modes that belong to a goroutine; see switch.S.
#pragma once

#include <cstdint>

namespace weft::arch {

struct FloatingPointModes {
  uint32_t mxcsr;
  uint16_t x87_control;

  bool operator==(const FloatingPointModes&) const = default;
};

// The psABI's at process start.
inline constexpr FloatingPointModes kFirstModes = {0x1f80, 0x037f};
// Some that fesetround does not make: of the x87 precision alone.
inline constexpr FloatingPointModes kOddModes[] = {{0x1f80, 0x007f}, {0x1f80, 0x027f}};

inline FloatingPointModes CurrentModes() {
  FloatingPointModes modes;
  asm volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(modes.mxcsr), "=m"(modes.x87_control));
  modes.mxcsr &= 0xffc0;  // below: status, which is the thread's
  return modes;
}

inline void SetModes(const FloatingPointModes& modes) {
  asm volatile("ldmxcsr %0\n\tfldcw %1" ::"m"(modes.mxcsr), "m"(modes.x87_control));
}

}  // namespace weft::arch
