// Deadlock detection: no goroutine can ever run again.
//
// Asked whenever an M is about to sleep, under sched_lock. There is a deadlock when no M runs or
// looks for work, no goroutine is queued, and nobody else can make one runnable: no timer, no
// descriptor that is waited for (signals come by one), no file operation, and no thread that is not
// ours. Where the number of threads cannot be learned (no /proc, no descriptor left) there may be
// one. Asked again by sysmon before it sleeps: an M's thread that has ended is counted by the
// kernel a moment longer.
#include "runtime/fatal.h"
#include "runtime/os/thread.h"
#include "runtime/report.h"
#include "runtime/sanitizer.h"
#include "runtime/sched.h"

namespace weft::runtime {

namespace {

// Goroutines outside of the scheduler's sight that will come back by themselves.
bool IsAway(const G* g) {
  uint32_t state = StateOf(ReadGStatus(g));
  if (state == Gsyscall || state == Grunning || state == Grunnable) return true;
  if (state != Gwaiting) return false;
  WaitReason why = g->wait_reason;
  return why == WaitReason::kFile || why == WaitReason::kIoRead || why == WaitReason::kIoWrite;
}

}  // namespace

void CheckDeadlockLocked() {
  Runtime* rt = Rt();
  rt->sched_lock.AssertHeld();
  if (rt->idle_m_count + rt->idle_locked_count < rt->m_count) return;
  // All under the lock, or written by Ms that are asleep.
  if (rt->exiting.Load(os::kRelaxed<"deadlock.exiting">) != 0) return;
  if (rt->stop_wanted.Load(os::kRelaxed<"deadlock.stop">) != 0) return;
  if (!rt->global_queue.empty() || EarliestTimer() != 0) return;
  M* first = rt->all_ms.Load(os::kRelaxed<"deadlock.all_ms">);  // under the lock
  for (M* other = first; other != nullptr; other = other->all_next) {
    if (other->nextp.Load(os::kRelaxed<"deadlock.nextp">) != nullptr) return;
  }
  if (AnyG(rt, IsAway)) return;
  // The thread that called Main waits for its end; it is no M, but cannot wake anybody.
  int threads = os::CountThreads();
  if (threads == 0 || threads > os::OwnThreads() + 1 + kSanitizerThreads) return;
  if (rt->deadlock_found) return;
  rt->deadlock_found = true;
  rt->sched_lock.Release();
  DumpAll(2);
  Fatal("all goroutines are asleep - deadlock!");
}

}  // namespace weft::runtime
