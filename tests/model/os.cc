// The seam under the explorer: time is virtual, futexes are the schedule's, memory is the host's.
// What no harness should reach fails the run.
#include "runtime/os/clock.h"
#include "runtime/os/futex.h"
#include "runtime/os/memory.h"
#include "runtime/os/thread.h"
#include "runtime/os/trap.h"
#include "tests/model/engine.h"

namespace weft::os {

using model::engine;

bool membarrier_refused = false;

namespace {
model::Site futex_site{"futex", model::MemoryOrder::kRelaxed};
}

FutexResult FutexWait(const Atomic<uint32_t>& word, uint32_t expected, int64_t timeout_ns) {
  model::Location& location = word.Here(futex_site);
  const int lane = model::LaneOf(location);
  model::Point();
  // The kernel compares under a lock, after a barrier: it sees the newest value. It gives the
  // program no order.
  if (model::ReadNewest(location) != expected) {
    if (engine.trace) model::Trace("futex wait: has changed");
    return FutexResult::kChanged;
  }
  if (engine.spurious && engine.preemptions_left > 0 && model::Choose(2) == 1) {
    model::SpendPreemption();
    if (engine.trace) model::Trace("futex wait: returns for no reason");
    return FutexResult::kWoken;
  }
  return model::SleepOn(lane, timeout_ns) ? FutexResult::kWoken : FutexResult::kTimedOut;
}

void FutexWake(const Atomic<uint32_t>& word, int count) {
  const int lane = model::LaneOf(word.Here(futex_site));
  model::Point();
  model::WakeOn(lane, count);
}

bool Membarrier() {
  model::FenceAll();
  return true;
}

// A reading takes a microsecond, so that waits that look at the clock end.
int64_t Nanotime() {
  model::Point();
  engine.clock += 1000;
  model::Mix(static_cast<uint64_t>(engine.clock));
  return engine.clock;
}

int64_t UnixNanos() {
  model::Point();
  model::Mix(static_cast<uint64_t>(engine.clock));
  return engine.clock;
}

void SleepThread(int64_t ns) {
  static constinit const Atomic<uint32_t> nobody_wakes(0);
  FutexWait(nobody_wakes, 0, ns);
}

void YieldThread() {
  model::GiveWay();
}

int StartThread(const char* name, size_t, void (*fn)(void*), void* arg) {
  model::Spawn(name, [fn, arg] { fn(arg); });
  return 0;
}

StackBounds ThreadStack() {
  const uintptr_t lo = reinterpret_cast<uintptr_t>(engine.stack[engine.running->id]);
  return {lo, lo + model::kStackSize};
}

// Not known: the runtime's own check for a deadlock does not speak; the explorer's does.
int CountThreads() {
  return 0;
}

void AtThreadEnd(void (*)()) {}
int ThreadId() {
  return engine.running->id;
}
Atomic<uintptr_t>* PollSlot() {
  return nullptr;
}

void* InstallSignalStack() {
  return nullptr;
}
void RemoveSignalStack(void*) {}

void SpinWait(int) {
  model::SpinPause();
}

}  // namespace weft::os
