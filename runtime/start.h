// Starting and ending a Runtime, for the layer that knows all parts (netpoll/start.cc).
#pragma once

#include "runtime/sched.h"
#include "weft/runtime.h"

namespace weft::runtime {

// Makes a Runtime with its Ps and first M, to run fn(arg) as the first goroutine; returns when that
// has returned and every thread has left. `open` fills in the poller before anything runs, `close`
// ends it when nothing runs any more.
void RunRuntime(const RuntimeOptions& options, void (*fn)(void*), void* arg, void (*open)(Runtime*),
                void (*close)(Runtime*));

}  // namespace weft::runtime
