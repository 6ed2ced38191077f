// What is compiled with -fsplit-stack for split_test, where the compiler can.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::testing {

// False: no prologue polls, as the compiler or the machine has no such flag.
bool HasSplitStacks();

// Is called before each call below, by code that polls.
extern void (*before_each_call)();

// Calls with arguments of every kind, that depend on `seed`. True: all arrived.
bool IntegersArrive(int seed);
bool DoublesArrive(int seed);
bool VariableArgumentsArrive(int seed);
bool VectorsArrive(int seed);  // as wide as the CPU has them
bool StructsArrive(int seed);
// Blocks of alloca, small and large, stay as they are filled; what is aligned to 64 bytes stays so.
bool BlocksStay(int seed);
// errno is what this goroutine has set, over calls.
bool ErrnoStays(int error);
// An exception passes some frames.
bool ExceptionsArrive(int seed);

// Calls functions until *stop is set, and says how often.
int64_t ComputeUntil(const volatile bool* stop);
// One call of a function that calls nothing.
int Nothing(int x);
// As qsort's comparison of ints.
int Compare(const void* a, const void* b);

}  // namespace weft::testing
