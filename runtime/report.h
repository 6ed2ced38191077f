// What the runtime says of its goroutines, on request and when it dies.
#pragma once

#include "runtime/g.h"
#include "runtime/print.h"

namespace weft::runtime {

// One goroutine: number, state, wait reason, trace if it is parked.
void PrintGoroutine(Printer* out, const G* g);
// All of them. Each is held still by its scan bit while it is printed.
void DumpAll(int fd);

// With the trace of a signal's context.
[[noreturn]] void FatalFault(const void* context, const char* format, ...);

// Name of the exception that is being handled, or "none".
const char* CurrentExceptionType();

// Faults, SIGQUIT, std::terminate.
void InstallReports();
void RemoveReports();

}  // namespace weft::runtime
