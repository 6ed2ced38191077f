// The system call instruction, without libc's errno and cancellation points.
#pragma once

#include <cstdint>

namespace weft::arch {

// Returns what the kernel returned: a result, or -errno in -4095..-1.
[[gnu::always_inline]] inline int64_t Syscall(int64_t number, int64_t a, int64_t b = 0,
                                              int64_t c = 0, int64_t d = 0, int64_t e = 0,
                                              int64_t f = 0) {
  register int64_t x8 asm("x8") = number;
  register int64_t x0 asm("x0") = a;
  register int64_t x1 asm("x1") = b;
  register int64_t x2 asm("x2") = c;
  register int64_t x3 asm("x3") = d;
  register int64_t x4 asm("x4") = e;
  register int64_t x5 asm("x5") = f;
  asm volatile("svc #0"
               : "+r"(x0)
               : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
               : "memory", "cc");
  return x0;
}

}  // namespace weft::arch
