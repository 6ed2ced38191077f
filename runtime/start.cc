// A runtime's life: built by RunRuntime on a plain thread, which then sleeps; ended when its first
// goroutine returns.
//
// The end: 1. the first goroutine sets `exiting` and wakes every sleeper; 2. Ms see it in Schedule
// or when they wake, and leave (m.cc); 3. the thread that built it waits until no thread is left,
// ends the file ring's thread and closes the gate to plain threads (gate.h); 4. either may have
// started an M meanwhile, so it waits for threads once more, and frees everything.
// Goroutines that still exist are abandoned: nothing of them runs. Their memory is kept then: the
// queue of a channel or a Completion that outlives Main may hold a waiter on such a stack; who
// wakes it finds the goroutine marked, and goes on. A thread that does not come back (it computes
// without a poll, or blocks in Blocking) cannot be ended; then nothing is freed and the process may
// not make another runtime.
#include "runtime/start.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "runtime/fatal.h"
#include "runtime/gate.h"
#include "runtime/os/clock.h"
#include "runtime/os/thread.h"
#include "runtime/os/unwinder.h"
#include "runtime/procs.h"
#include "runtime/report.h"

namespace weft::runtime {

Runtime* the_runtime = nullptr;

namespace {

// How long goroutines are waited for that run or block outside of the runtime: beyond it they
// compute, and the program wants to end.
constexpr int kPatience = 200;
constexpr int64_t kNap_ns = 1'000'000;

struct MainCall {
  void (*fn)(void*);
  void* arg;
};

void ReadDebugFlags(DebugFlags* flags) {
  const char* text = os::Environment("WEFT_DEBUG");
  while (text != nullptr && *text != 0) {
    const char* end = strchr(text, ',');
    size_t n = end != nullptr ? static_cast<size_t>(end - text) : strlen(text);
    if (n == 9 && memcmp(text, "migrate=1", 9) == 0) {
      flags->migrate = true;
    } else {
      os::WriteAll(2, "weft: WEFT_DEBUG: unknown: ", 27);
      os::WriteAll(2, text, n);
      os::WriteAll(2, "\n", 1);
    }
    text = end != nullptr ? end + 1 : nullptr;
  }
}

}  // namespace

void BeginExit() {
  Runtime* rt = Rt();
  M* m = GetM();
  m->locks++;
  rt->ending_goid = m->curg->goid;
  // Step 1, before the sleepers are woken for it. seq_cst and its readers' acquires are the rule
  // rather than a need: nothing but the flag is read by it, sched_lock is passed before the wakes,
  // and Ms are told again until they have left (WaitForThreads).
  rt->exiting.Store(1, os::kSeqCst<"exit.begin">);
  {
    LockGuard guard(rt->sched_lock);
    if (rt->sysmon_sleeps.Load(os::kRelaxed<"exit.sysmon">) != 0) WakeSysmonLocked();
  }
  PreemptAll();
  // Pairs with TakeStruct, for an M listed since sched_lock was passed (the explorer's all were
  // before).
  M* first = rt->all_ms.Load(os::kAcquire<"exit.all_ms">);
  for (M* other = first; other != nullptr; other = other->all_next) {
    if (other != m) WakeM(other);
  }
  // Release: all that the first goroutine did, for Main's caller. If every thread leaves, as the
  // explorer's do, mexit.live hands that on as well.
  rt->main_calls.FetchOr(kMainDone, os::kRelease<"exit.done">);  // pairs with ServeCalls
  os::FutexWake(rt->main_calls, 1);
  // From the goroutine's end to the scheduler, which ends the thread; not to another goroutine.
  m->p->direct_budget = 0;
  m->locks--;
}

namespace {

void RunFirst(void* p) {
  MainCall* call = static_cast<MainCall*>(p);
  call->fn(call->arg);
  BeginExit();
}

// Whether a thread may be away in a goroutine's code. All others are on their way out, however long
// a busy machine lets them wait for a CPU.
bool AnyGoroutineRuns(Runtime* rt) {
  LockGuard guard(rt->gs_lock);
  return AnyG(rt, [](const G* g) {
    uint32_t state = StateOf(ReadGStatus(g));
    if (state != Grunning && state != Gsyscall) return false;
    return g->goid != Rt()->ending_goid;
  });
}

// Ms may go to sleep or start while the end begins: told again until they have left. Patience is
// counted in naps: while the whole process gets no CPU, it does not run out.
bool WaitForThreads(Runtime* rt) {
  int patience = kPatience;
  for (;;) {
    // Acquire: the last thread's work; pairs with LeaveRuntime.
    uint32_t live = rt->live_threads.Load(os::kAcquire<"exit.live">);
    if (live == 0) return true;
    if (patience == 0 && AnyGoroutineRuns(rt)) return false;
    StartPendingMs();
    const os::FutexResult nap = os::FutexWait(rt->live_threads, live, kNap_ns);
    if (nap == os::FutexResult::kTimedOut && patience > 0) patience--;
    PreemptAll();
    // Pairs with NewM.
    for (M* m = rt->all_ms.Load(os::kAcquire<"exit.again">); m != nullptr; m = m->all_next) {
      WakeM(m);
    }
  }
}

// What the thread in Main does until the end: it starts Ms.
void ServeCalls(Runtime* rt) {
  for (;;) {
    // Before the list is looked at; pairs with NewM and BeginExit.
    uint32_t calls = rt->main_calls.Load(os::kAcquire<"start.wait">);
    if ((calls & kMainDone) != 0) return;
    StartPendingMs();
    os::FutexWait(rt->main_calls, calls);
  }
}

void StartSysmon(Runtime* rt) {
  M* m = static_cast<M*>(rt->alloc.Allocate(sizeof(M)));
  new (m) M();
  m->id = 0;
  rt->live_threads.FetchAdd(1, os::kRelaxed<"sysmon.start">);  // before the thread can end
  int error = os::StartThread("weft-sysmon", size_t{256} << 10, SysmonMain, m);
  if (error != 0) Fatal("cannot start sysmon: error %u", static_cast<uint64_t>(-error));
}

Runtime* Build(const RuntimeOptions& options) {
  // Not from its own allocator, which it holds.
  static uint32_t serial = 0;  // one thread at a time is in Main
  Runtime* rt = new Runtime;
  rt->serial = ++serial;
  ReadDebugFlags(&rt->debug);
  std::string* root = new std::string(options.system_root);
  rt->system_root = root->c_str();
  rt->owned_root = root;
  rt->default_stack_class = StackClassOf(options.stack_size);
  return rt;
}

// Marks the goroutines that still exist; whether there are any.
bool Abandon(Runtime* rt) {
  bool any = false;
  AnyG(rt, [&any](G* g) {
    uint32_t state = StateOf(ReadGStatus(g));
    if (state == Gidle || state == Gdead) return false;
    g->abandoned.Store(true, os::kRelaxed<"exit.abandon">);  // before the gate opens again
    any = true;
    return false;
  });
  return any;
}

void Free(Runtime* rt) {
  for (int32_t i = 0; i < rt->made_procs.Load(os::kRelaxed<"free.procs">); i++) {  // nobody is left
    ForgetTimers(rt->all_ps[i]);
  }
  if (Abandon(rt)) {
    rt->stacks.UnmapUnopened();
  } else {
    rt->stacks.UnmapAll();
    rt->alloc.UnmapAll();
  }
  delete static_cast<std::string*>(rt->owned_root);
  delete rt;
}

}  // namespace

void RunRuntime(const RuntimeOptions& options, void (*fn)(void*), void* arg,
                const LifeHooks& hooks) {
  if (GetM() != nullptr) Fatal("weft::Main on a goroutine");
  if (the_runtime != nullptr) {
    Fatal("weft::Main while another runtime runs, or threads of an earlier one still do");
  }
  Runtime* rt = Build(options);
  the_runtime = rt;
  InstallReports();
  // Before anything can fail: loading it later would allocate where that may not be done.
  os::LoadUnwinder();
  int procs = options.max_procs > 0 ? options.max_procs : DefaultProcs(rt->system_root);
  if (procs > kMaxProcs) procs = kMaxProcs;
  hooks.open(rt);
  // The first M gets P 0; the others are idle.
  M bootstrap;
  {
    LockGuard guard(rt->sched_lock);
    ResizeProcs(&bootstrap, procs);
    bootstrap.p->m.Store(nullptr, os::kRelaxed<"start.p.m">);      // nothing runs yet
    bootstrap.p->state.Store(Pidle, os::kRelease<"start.first">);  // pairs with AcquireP
    for (int i = procs - 1; i > 0; i--) {
      rt->all_ps[i]->state.Store(Pidle, os::kRelease<"start.others">);  // as above
      PushIdlePLocked(rt->all_ps[i]);
    }
  }
  MainCall call = {fn, arg};
  G* g = AllocateG(nullptr);
  g->stack_class = static_cast<uint8_t>(StackClassOf(size_t{8} << 20));  // as a main thread's
  g->closure = &call;
  g->run = RunFirst;
  rt->foreign_spawned.FetchAdd(1, os::kRelaxed<"start.main.count">);  // a counter
  CasGStatus<Gdead, Grunnable>(g);
  PushGlobal(g);
  StartSysmon(rt);
  foreign_gate.Open();
  NewM(bootstrap.p, false);
  ServeCalls(rt);
  if (!WaitForThreads(rt)) {
    foreign_gate.Close();
    os::WriteAll(2,
                 "weft: Main returns while goroutines compute or block outside of the "
                 "runtime: their threads are left behind\n",
                 107);
    return;
  }
  hooks.stop_threads();
  foreign_gate.Close();
  if (!WaitForThreads(rt)) Fatal("an M started at the end does not leave");
  hooks.close();
  RemoveReports();
  the_runtime = nullptr;
  Free(rt);
}

}  // namespace weft::runtime

namespace weft::internal {

int ReportExit(const absl::Status& status) {
  if (status.ok()) return 0;
  // A program that was asked to end by a signal it waited for, and did (sync/signal_context.cc).
  if (absl::IsCancelled(status) && status.GetPayload("weft/signal").has_value()) return 0;
  std::string text = status.ToString();
  text += "\n";
  os::WriteAll(2, text.data(), text.size());
  return 1;
}

}  // namespace weft::internal
