// Stack traces: of parked goroutines, of the caller, of a fault. For dumps and fatal reports only:
// libunwind and the symbolizer allocate and lock.
#pragma once

#include "runtime/g.h"
#include "runtime/print.h"

namespace weft::runtime {

// Of a goroutine whose context is saved (the caller sees to it that it stays so).
void PrintParkedTrace(Printer* out, const G* g);
// Of the caller. `context`: a ucontext_t of a signal frame to begin with, or null.
void PrintOwnTrace(Printer* out, const void* context);
// Name of the function at `pc`, into `buffer`.
const char* SymbolAt(const void* pc, char* buffer, int size);

const char* WaitReasonText(WaitReason reason);

}  // namespace weft::runtime
