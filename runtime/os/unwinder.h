// libunwind, loaded at start and bound to by name.
//
// It is not linked: libunwind.so has a _Unwind_RaiseException of its own, and a program linked with
// it would throw through that one instead of libgcc's.
#pragma once

#define UNW_LOCAL_ONLY
#include <libunwind.h>

namespace weft::os {

struct Unwinder {
  decltype(&unw_init_local2) init;
  decltype(&unw_step) step;
  decltype(&unw_get_reg) get_reg;
};

// Loads the library, once in a process. What is loaded, or null: no traces then.
const Unwinder* LoadUnwinder();

}  // namespace weft::os
