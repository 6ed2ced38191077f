// Timers: a heap on each P.
//
// See timer.cc for the protocol. A Timer is part of its owner (a G, a descriptor, a public
// timer); it may be freed when it is not in a heap and its function does not run.
#pragma once

#include <cstdint>

#include "weft/internal/atomic.h"

namespace weft::runtime {

struct TimerHeap;

// Called on an M with a P, no lock held, m->locks not 0: it must not block. `seq` is what AddTimer
// was given.
using TimerFunction = void (*)(void* arg, uintptr_t seq);

struct Timer {
  os::Atomic<TimerHeap*> heap{nullptr};         // where it is; changes under that heap's lock
  os::Plain<int32_t> index = -1;                // [heap's lock] place in the heap
  os::Plain<int64_t> when = 0;                  // [heap's lock] Nanotime() at which it fires
  os::Plain<int64_t> period = 0;                // [heap's lock] > 0: fires again every so many ns
  os::Plain<TimerFunction> function = nullptr;  // set before it is added
  os::Plain<void*> arg = nullptr;
  os::Plain<uintptr_t> seq = 0;
};

// Nanoseconds of the monotonic clock.
int64_t Nanotime();

// Adds a timer that is in no heap. Any thread may call it. False: there is no runtime.
[[nodiscard]] bool TryAddTimer(Timer* t, int64_t when, int64_t period, TimerFunction function,
                               void* arg, uintptr_t seq);
// Fatal without a runtime.
void AddTimer(Timer* t, int64_t when, int64_t period, TimerFunction function, void* arg,
              uintptr_t seq);
// Sleeps the calling goroutine or plain thread; up to a moment longer. <= 0: yields.
void SleepNs(int64_t ns);

// Takes it out of its heap. False: it was in none; then it has fired, and its function may run
// just now: whoever must know tells runs apart by `seq` under a lock of its own. A timer that its
// runtime's end has taken out counts as deleted here.
bool DeleteTimer(Timer* t);

}  // namespace weft::runtime
