// Ms: starting and ending their threads.
//
// Threads are started by the thread that called Main, which sleeps meanwhile: what a thread
// inherits (CPU affinity, namespaces, credentials, seccomp filters) is what it had there, not what
// a goroutine has done to its own; and nobody calls into libc with a core lock held.
#include <cxxabi.h>

#include "runtime/fatal.h"
#include "runtime/os/thread.h"
#include "runtime/os/trap.h"
#include "runtime/sanitizer.h"
#include "runtime/sched.h"

namespace __cxxabiv1 {
struct __cxa_eh_globals;
extern "C" __cxa_eh_globals* __cxa_get_globals() noexcept;
}  // namespace __cxxabiv1

namespace weft::runtime {

namespace {

// The system stack runs the scheduler, the netpoller and callbacks that must not block; dumps
// (libunwind) run on the signal stack or here.
constexpr size_t kThreadStack = size_t{512} << 10;
// MStart's own frame and the context that ends the thread lie above g0's frames.
constexpr uintptr_t kG0Margin = 4096;

void MMain(void* arg) {
  M* m = static_cast<M*>(arg);
  m->locks = 1;
  if (P* p = m->nextp.Load(os::kRelaxed<"mstart.nextp">); p != nullptr) {  // set before the start
    m->nextp.Store(nullptr, os::kRelaxed<"mstart.nextp.taken">);
    AcquireP(m, p);
    m->spinning = m->next_spinning;
  }
  Schedule(m);
}

void LeaveRuntime(M* m) {
  Runtime* rt = Rt();
  {
    LockGuard guard(rt->sched_lock);
    rt->m_count--;
    m->idle_next = rt->free_ms;
    rt->free_ms = m;
    CheckDeadlockLocked();
  }
  weft_set_m(nullptr);
  // The last thing that this thread does to the Runtime; pairs with WaitForThreads, after which it
  // is freed. The explorer leaves that out.
  rt->live_threads.FetchSub(1, os::kRelease<"mexit.live">);
  os::FutexWake(rt->live_threads, 1);
}

void MStart(void* arg) {
  M* m = static_cast<M*>(arg);
  weft_set_m(m);
  m->eh_globals = reinterpret_cast<uintptr_t*>(__cxxabiv1::__cxa_get_globals());
  m->g0_fiber = CurrentFiber();
  os::StackBounds bounds = os::ThreadStack();
  m->g0_lo = bounds.lo;
  m->g0_hi = bounds.hi;
  m->curg = &m->g0;
  // Its P would be gone, and others would go on writing to its poll slot.
  os::AtThreadEnd([] {
    if (GetM() != nullptr) Fatal("pthread_exit on a goroutine");
  });
  m->tid = os::ThreadId();
  GiveSlot(m);
  m->signal_stack = os::InstallSignalStack();
  uintptr_t here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  m->g0_sp = reinterpret_cast<void*>((here - kG0Margin) & ~uintptr_t{63});
  arch::weft_mcall(&m->exit_sp, m->g0_sp, MMain, m);
  os::RemoveSignalStack(m->signal_stack);
  TakeSlotBack(m);
  LeaveRuntime(m);
}

}  // namespace

namespace {

// A struct for a new M: that of one that has ended, or a fresh one, listed. Others may look at it
// at any time, so its atomics stay as they are.
M* TakeStruct(int32_t* count) {
  Runtime* rt = Rt();
  {
    LockGuard guard(rt->sched_lock);
    *count = ++rt->m_count;
    if (M* m = rt->free_ms; m != nullptr) {
      rt->free_ms = m->idle_next;
      m->idle_next = nullptr;
      m->spinning = m->end_thread = false;
      m->p = m->syscall_p = nullptr;
      m->take_next = m->prev = nullptr;
      m->orphan_wakes = 0;
      return m;
    }
  }
  M* m = rt->alloc.New<M>();
  LockGuard guard(rt->sched_lock);
  m->id = ++rt->next_m_id;
  m->random_state = static_cast<uint64_t>(m->id) * 0x9E3779B97F4A7C15ULL + 1;
  m->all_next = rt->all_ms.Load(os::kRelaxed<"newm.all_ms">);  // under the lock
  // Pairs with who walks the list without the lock.
  rt->all_ms.Store(m, os::kRelease<"newm.publish">);
  return m;
}

}  // namespace

void NewM(P* p, bool spinning) {
  Runtime* rt = Rt();
  int32_t count = 0;
  M* m = TakeStruct(&count);
  if (count > kMaxMs) {
    Fatal("thread exhaustion: %u threads, all blocked outside of the scheduler",
          static_cast<uint64_t>(count));
  }
  m->next_spinning = spinning;
  m->nextp.Store(p, os::kRelaxed<"newm.nextp">);            // the lock below orders it
  rt->live_threads.FetchAdd(1, os::kRelaxed<"newm.live">);  // before the thread can end
  {
    LockGuard guard(rt->sched_lock);
    m->idle_next = rt->to_start;
    rt->to_start = m;
  }
  // After the list; pairs with ServeCalls. The lock orders it too: who has read this call passes
  // the lock after us.
  rt->main_calls.FetchAdd(kMainCall, os::kRelease<"newm.call">);
  os::FutexWake(rt->main_calls, 1);
}

void StartPendingMs() {
  Runtime* rt = Rt();
  for (;;) {
    M* m = nullptr;
    {
      LockGuard guard(rt->sched_lock);
      m = rt->to_start;
      if (m == nullptr) return;
      rt->to_start = m->idle_next;
      m->idle_next = nullptr;
    }
    int error = os::StartThread("weft-m", kThreadStack, MStart, m);
    if (error != 0) {
      Fatal("cannot start a thread: error %u (RLIMIT_NPROC? pids.max?)",
            static_cast<uint64_t>(-error));
    }
  }
}

void ExitM(M* m) {
  Runtime* rt = Rt();
  m->events.Add(Event::kExit, 0);
  {
    LockGuard guard(rt->sched_lock);
    if (m->in_idle_list) RemoveIdleMLocked(m);
  }
  if (rt->poller != nullptr) rt->poller->exit_m(m);
  m->locks = 0;
  arch::weft_gogo(m->exit_sp, nullptr);
}

}  // namespace weft::runtime
