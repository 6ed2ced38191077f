// How wide the vectors are that functions may be given on this CPU; morestack.S keeps them.
#include <cpuid.h>

#include <cstdint>

extern "C" {
[[gnu::visibility("hidden")]] extern uint8_t weft_vector_bytes;
[[gnu::visibility("hidden")]] extern uint8_t weft_tells_vectors_in_use;
}
uint8_t weft_vector_bytes = 16;
uint8_t weft_tells_vectors_in_use = 0;

namespace {
// Before initializers that may begin a runtime.
[[gnu::constructor(101)]] void FindVectors() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx")) return;
  weft_vector_bytes = __builtin_cpu_supports("avx512f") ? 64 : 32;
  constexpr unsigned kExtendedState = 0xd;
  constexpr unsigned kXgetbvOfOne = 1 << 2;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  weft_tells_vectors_in_use =
      __get_cpuid_count(kExtendedState, 1, &a, &b, &c, &d) != 0 && (a & kXgetbvOfOne) != 0;
}
}  // namespace
