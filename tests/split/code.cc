#include "tests/split/code.h"

#include <cerrno>
#include <cstdarg>
#include <cstring>

// Called as it is written.
#ifdef __clang__
#define WEFT_APART [[gnu::noinline]]
#else
#define WEFT_APART [[gnu::noipa]]
#endif

namespace weft::testing {

bool HasSplitStacks() {
#ifdef WEFT_SPLIT_STACK
  return true;
#else
  return false;
#endif
}

void (*before_each_call)() = [] {};

namespace {

WEFT_APART int64_t Integers(int a, long b, char c, short d, unsigned e, int64_t f, int g,
                            int64_t h) {
  return a + 2 * b + 3 * c + 4 * d + 5 * int64_t{e} + 6 * f + 7 * int64_t{g} + 8 * h;
}

WEFT_APART double Doubles(double a, double b, double c, double d, double e, double f, double g,
                          double h, double i) {
  return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i;
}

template <class T>
WEFT_APART T Variable(int n, ...) {
  va_list list;
  va_start(list, n);
  T sum = 0;
  for (int i = 1; i <= n; i++) sum += static_cast<T>(i) * va_arg(list, T);
  va_end(list);
  return sum;
}

struct Large {
  int64_t word[9];
};

WEFT_APART Large Structs(Large a, int x, Large b) {
  for (int i = 0; i < 9; i++) a.word[i] += x * b.word[i];
  return a;
}

// The same function on vectors of every width.
#define WEFT_VECTORS(name, bytes, attributes)                                                  \
  using name = int64_t __attribute__((vector_size(bytes)));                                    \
  attributes WEFT_APART name Sum##name(name a, name b, name c, name d, name e, name f, name g, \
                                       name h) {                                               \
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h;                          \
  }                                                                                            \
  attributes bool name##Arrive(int seed) {                                                     \
    name v = {};                                                                               \
    for (size_t i = 0; i < bytes / 8; i++) v[i] = seed + static_cast<int64_t>(i);              \
    before_each_call();                                                                        \
    const name sum = Sum##name(v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6, v + 7);            \
    for (size_t i = 0; i < bytes / 8; i++) {                                                   \
      if (sum[i] != 36 * v[i] + 168) return false;                                             \
    }                                                                                          \
    return true;                                                                               \
  }

WEFT_VECTORS(Narrow, 16, )
#ifdef WEFT_SPLIT_STACK
WEFT_VECTORS(Wide, 32, [[gnu::target("avx2")]])
WEFT_VECTORS(Widest, 64, [[gnu::target("avx512f")]])
#endif

struct alignas(64) Aligned {
  int64_t word[8];
};

WEFT_APART bool IsAligned(Aligned a, int seed) {
  const Aligned* volatile here = &a;  // volatile: or it is known to be aligned
  // Where there are such prologues: not every ABI aligns arguments so.
  const bool aligned = reinterpret_cast<uintptr_t>(here) % alignof(Aligned) == 0;
  return (aligned || !HasSplitStacks()) && a.word[7] == seed;
}

WEFT_APART bool BlockStays(size_t n, int seed) {
  before_each_call();
  unsigned char* block = static_cast<unsigned char*>(__builtin_alloca(n));
  for (size_t i = 0; i < n; i++) block[i] = static_cast<unsigned char>(i * 7 + unsigned(seed));
  // Calls, with arguments on the stack, beside the block.
  Aligned aligned = {};
  aligned.word[7] = seed;
  const bool arrive = IntegersArrive(seed) && IsAligned(aligned, seed);
  for (size_t i = 0; i < n; i++) {
    if (block[i] != static_cast<unsigned char>(i * 7 + unsigned(seed))) return false;
  }
  return arrive;
}

WEFT_APART int Throwing(int depth, int thrown) {
  before_each_call();
  if (depth == 0) throw thrown;
  return Throwing(depth - 1, thrown) + depth;
}

}  // namespace

bool IntegersArrive(int seed) {
  const int64_t s = seed;
  before_each_call();
  return Integers(seed, s + 1, 2, 3, 4, s + 5, seed + 6, s + 7) ==
         s + 2 * (s + 1) + 6 + 12 + 20 + 6 * (s + 5) + 7 * (s + 6) + 8 * (s + 7);
}

bool DoublesArrive(int seed) {
  const double s = seed;
  before_each_call();
  return Doubles(s, s + 1, s + 2, s + 3, s + 4, s + 5, s + 6, s + 7, s + 8) == 45 * s + 240;
}

bool VariableArgumentsArrive(int seed) {
  const int64_t s = seed;
  const double d = seed;
  before_each_call();
  const int64_t sum =
      Variable<int64_t>(9, s, s + 1, s + 2, s + 3, s + 4, s + 5, s + 6, s + 7, s + 8);
  before_each_call();
  return sum == 45 * s + 240 && Variable<double>(9, d, d + 1, d + 2, d + 3, d + 4, d + 5, d + 6,
                                                 d + 7, d + 8) == 45 * d + 240;
}

bool VectorsArrive(int seed) {
#ifdef WEFT_SPLIT_STACK
  if (__builtin_cpu_supports("avx2") && !WideArrive(seed)) return false;
  if (__builtin_cpu_supports("avx512f") && !WidestArrive(seed)) return false;
#endif
  return NarrowArrive(seed);
}

bool StructsArrive(int seed) {
  Large a;
  Large b;
  for (int i = 0; i < 9; i++) {
    a.word[i] = seed + i;
    b.word[i] = seed - i;
  }
  before_each_call();
  const Large sum = Structs(a, 3, b);
  for (int i = 0; i < 9; i++) {
    if (sum.word[i] != 4 * int64_t{seed} - 2 * i) return false;
  }
  return true;
}

bool BlocksStay(int seed) {
  return BlockStays(1, seed) && BlockStays(100, seed) && BlockStays(5000, seed) &&
         BlockStays(20'000, seed);
}

bool ExceptionsArrive(int seed) {
  try {
    return Throwing(5, seed) == -1;
  } catch (int caught) {
    return caught == seed;
  }
}

bool ErrnoStays(int error) {
  errno = error;
  before_each_call();
  (void)Nothing(1);
  const bool stays = errno == error;
  errno = 0;
  return stays;
}

int64_t ComputeUntil(const volatile bool* stop) {
  int64_t calls = 0;
  for (; !*stop; calls++) {
    if (!IntegersArrive(static_cast<int>(calls & 1023))) return -1;
  }
  return calls;
}

WEFT_APART int Nothing(int x) {
  return x + 1;
}

int Compare(const void* a, const void* b) {
  int left = 0;
  int right = 0;
  memcpy(&left, a, sizeof(left));
  memcpy(&right, b, sizeof(right));
  return left < right ? -1 : int{left > right};
}

}  // namespace weft::testing
