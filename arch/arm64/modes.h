// The floating-point modes that belong to a goroutine; see switch.S.
#pragma once

#include <cstdint>

namespace weft::arch {

struct FloatingPointModes {
  uint64_t fpcr;

  bool operator==(const FloatingPointModes&) const = default;
};

// At process start.
inline constexpr FloatingPointModes kFirstModes = {0};
// Some that fesetround does not make: flush to zero, the default NaN.
inline constexpr FloatingPointModes kOddModes[] = {{1 << 24}, {1 << 25}};

inline FloatingPointModes CurrentModes() {
  FloatingPointModes modes;
  asm volatile("mrs %0, fpcr" : "=r"(modes.fpcr));
  return modes;
}

inline void SetModes(const FloatingPointModes& modes) {
  asm volatile("msr fpcr, %0" ::"r"(modes.fpcr));
}

}  // namespace weft::arch
