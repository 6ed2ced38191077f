// The system call instruction, without libc's errno and cancellation points.
#pragma once

#include <cstdint>

namespace weft::arch {

// Returns what the kernel returned: a result, or -errno in -4095..-1.
[[gnu::always_inline]] inline int64_t Syscall(int64_t number, int64_t a, int64_t b = 0,
                                              int64_t c = 0, int64_t d = 0, int64_t e = 0,
                                              int64_t f = 0) {
  int64_t result;
  register int64_t r10 asm("r10") = d;
  register int64_t r8 asm("r8") = e;
  register int64_t r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

}  // namespace weft::arch
