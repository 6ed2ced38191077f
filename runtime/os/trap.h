// Signals that the runtime itself takes: its goroutines' faults, and SIGQUIT's request for a dump.
#pragma once

#include <cstdint>

namespace weft::os {

// The calling thread's alternate stack for signal handlers, large enough for a report; freed by
// RemoveSignalStack. A stack that the thread has already is left alone (null is returned).
void* InstallSignalStack();
void RemoveSignalStack(void* stack);

// What a fault handler is told. `context` is the ucontext_t.
struct Fault {
  int signal;
  uintptr_t address;
  const void* context;
};

// Installs handlers for SIGSEGV, SIGBUS and SIGQUIT. `on_fault` returns false when the fault is
// not the runtime's: then the program's earlier handler has it, or the default action.
void InstallTraps(bool (*on_fault)(const Fault&), void (*on_quit)());
void RemoveTraps();

}  // namespace weft::os
