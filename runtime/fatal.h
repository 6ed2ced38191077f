// Errors that end the process: broken invariants and misuse of the API.
//
// The message says what was found and what was expected; it is printed with the goroutine's
// number, its trace and the M's event ring. Formats know %s, %u (uint64_t), %d (int64_t) and %x
// (uint64_t), no more: this works without stdio, malloc or locks.
#pragma once

#include <cstdint>

namespace weft::runtime {

struct G;

[[noreturn]] void Fatal(const char* format, ...);
// About a goroutine other than the running one.
[[noreturn]] void FatalWith(const G* g, const char* format, ...);

// A check that stays in release builds.
#define WEFT_CHECK(condition)                                                              \
  ((condition) ? void()                                                                    \
               : ::weft::runtime::Fatal("check failed: %s at %s:%u", #condition, __FILE__, \
                                        static_cast<uint64_t>(__LINE__)))

}  // namespace weft::runtime
