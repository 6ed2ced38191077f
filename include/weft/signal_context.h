// SignalContext: a context that is cancelled by a signal.
//
//     int main() {
//       return weft::Main([] { return Serve(weft::SignalContext({SIGINT, SIGTERM})); });
//     }
#pragma once

#include <initializer_list>

#include "absl/status/status.h"
#include "weft/context.h"

namespace weft {

// A context that derives from `parent` and is cancelled by the first of `signals` that the
// process gets; its status() then names the signal.
//
// The first signal also gives all of `signals` their default action back, so that a second one
// ends a process that does not come to an end by itself. While a context is live its handlers
// are installed for the whole process; when the last handle of the last context for a signal is
// gone the handler that was there before is back. Several contexts may name the same signal: it
// cancels them all. Blocked signals are not received.
//
// While one is alive the program can be woken from outside: no deadlock is reported.
// It must be made and dropped while the runtime runs, on goroutines or plain threads. It takes a
// descriptor and a goroutine, whatever the number of contexts; dropping the last one waits for
// that goroutine to end. Fatal for signals that cannot be caught, and when descriptors have run
// out.
[[nodiscard]] Context SignalContext(std::initializer_list<int> signals,
                                    const Context& parent = Context::Background());

// The signal that `status` stems from, as a SignalContext or what derives from it gave it; 0: none.
int SignalOf(const absl::Status& status);

}  // namespace weft
