// How wide the vectors are that functions may be given on this CPU; morestack.S keeps them.
#include <cstdint>

extern "C" [[gnu::visibility("hidden")]] uint8_t weft_vector_bytes;
uint8_t weft_vector_bytes = 16;

namespace {
[[gnu::constructor]] void FindVectors() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) {
    weft_vector_bytes = 64;
  } else if (__builtin_cpu_supports("avx")) {
    weft_vector_bytes = 32;
  }
}
}  // namespace
