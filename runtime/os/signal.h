// A program's own signals.
#pragma once

#include <cstdint>

namespace weft::os {

inline constexpr int kMaxSignal = 64;

// SA_RESTART where it may be used: TSan holds a signal back until its thread comes to an atomic
// operation, which it does not when the kernel restarts the call that it sleeps in.
extern const int kRestartFlag;

// Holds a signal's action; as large as the kernel's on any machine.
struct SignalAction {
  alignas(16) unsigned char bytes[192];
};

// Installs `handler` for the process: with SA_RESTART, on the alternate stack where there is one,
// all signals blocked while it runs. What was there before goes to `*previous`, if not null.
// 0 or -errno (-EINVAL: there is no such signal, or it cannot be caught).
int CatchSignal(int signal, void (*handler)(int), SignalAction* previous);
void RestoreSignal(int signal, const SignalAction& previous);
// Signal-safe.
void DefaultSignal(int signal);

// "SIGTERM"; null for a signal without a name. Constant.
const char* SignalName(int signal);

}  // namespace weft::os
