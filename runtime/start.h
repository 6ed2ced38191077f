// Starting and ending a Runtime, for the layer that knows all parts (netpoll/start.cc).
#pragma once

#include "runtime/sched.h"
#include "weft/runtime.h"

namespace weft::runtime {

// Makes a Runtime with its Ps and first M, to run fn(arg) as the first goroutine; returns when that
// has returned and every thread has left.
struct LifeHooks {
  void (*open)(Runtime*);  // fills in the poller before anything runs
  void (*stop_threads)();  // ends the netpoller's own threads, when no M is left
  void (*close)();         // ends the poller when nothing runs any more
};
// The first goroutine's last call: the Ms shall end.
void BeginExit();
void RunRuntime(const RuntimeOptions& options, void (*fn)(void*), void* arg,
                const LifeHooks& hooks);

}  // namespace weft::runtime
