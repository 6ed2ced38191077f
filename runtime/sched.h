// The Runtime object: all state of weft hangs from it. And the scheduler's inner interface.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/alloc.h"
#include "runtime/fatal.h"
#include "runtime/g.h"
#include "runtime/lock.h"
#include "runtime/m.h"
#include "runtime/note.h"
#include "runtime/p.h"
#include "runtime/poller.h"
#include "runtime/sema.h"
#include "runtime/stack.h"

namespace weft::runtime {

// Chosen: as many as the largest machines have CPUs.
inline constexpr int kMaxProcs = os::Scaled(1024, 4);
inline constexpr int kMaxMs = 10'000;  // taken from Go: sched.maxmcount

// WEFT_DEBUG, read once at start.
struct DebugFlags {
  bool migrate = false;  // resume each goroutine on another M whenever possible
  int64_t schedtrace_ms = 0;
};

// A stretch of Gs; all of them are found through the list.
struct GSlab {
  static constexpr int kGs = 64;
  GSlab* next = nullptr;
  G gs[kGs];
};

// Rules of access: [s] under sched_lock   [a] atomic   [c] constant after start   [w] world stopped
struct Runtime {
  Allocator alloc;
  StackPool stacks;
  DebugFlags debug;                // [c]
  const Poller* poller = nullptr;  // [c]
  uint32_t serial = 0;             // [c] which runtime of the process this is, from 1
  const char* system_root = "";    // [c]
  void* owned_root = nullptr;      // [c] its text
  int default_stack_class = 0;     // [c]

  Lock sched_lock{LockRank::kSched};
  GQueue global_queue;                  // [s]
  os::Atomic<int32_t> global_size{0};   // [s] writes, any reads
  P* idle_ps = nullptr;                 // [s]
  os::Atomic<int32_t> idle_p_count{0};  // [s] writes, any reads
  M* idle_ms = nullptr;                 // [s] ring owners first
  M* idle_ms_tail = nullptr;            // [s]
  int32_t idle_m_count = 0;             // [s]
  int32_t idle_locked_count = 0;        // [s] Ms that sleep for their locked goroutine
  os::Atomic<int32_t> spinning{0};      // [a] Ms that look for work without having any
  os::Atomic<int64_t> timer_until{0};   // [s] writes: when the timer keeper wakes, 0: none sleeps
  M* timer_keeper = nullptr;            // [s]

  os::Atomic<M*> all_ms{nullptr};  // [s] writes: linked by all_next; never unlinked
  int32_t m_count = 0;             // [s] Ms with a thread, sysmon's not counted
  int32_t next_m_id = 0;           // [s]
  M* free_ms = nullptr;            // [s] structs of ended Ms

  P* all_ps[kMaxProcs] = {};          // [w]; entries never change once made
  os::Atomic<int32_t> procs{0};       // [w]
  os::Atomic<int32_t> made_procs{0};  // [w] entries of all_ps; never less

  // The stoppable world; see world.cc.
  os::Atomic<uint32_t> stop_wanted{0};  // [a] Ms shall give their Ps up
  int32_t stopwait = 0;                 // [s] Ps that have not stopped yet
  Note stopnote;
  os::Atomic<uint32_t> world_owner{0};  // [a] worldsema: 0 free, 1 held, 2 held and waited for
  WaitQueue world_queue;                // who waits for it
  os::Atomic<uint32_t> stopped{0};      // [a] the world stands

  // Safe points; see safepoint.cc.
  int32_t safe_point_wait = 0;  // [s] Ps that have not run the function yet
  Note safe_point_note;
  os::Plain<void (*)(P* p, void* arg)> safe_point_fn{nullptr};  // [s] writes, before Ps are asked
  os::Plain<void*> safe_point_arg{nullptr};                     // as safe_point_fn

  // Suspending goroutines; see suspend.cc.
  os::Atomic<uint32_t> suspend_told{0};     // [a] counts what suspenders wait for; a futex
  os::Atomic<int32_t> suspend_sleepers{0};  // [a] who sleeps on it

  // sysmon; see sysmon.cc.
  Note sysmon_note;
  os::Atomic<uint32_t> sysmon_sleeps{0};  // [s] writes: it waits for sysmon_note

  // Goroutines.
  Lock gs_lock{LockRank::kAllGs};
  GSlab* slabs = nullptr;          // [gs_lock] writes; dumps walk it
  int32_t slab_used = GSlab::kGs;  // [gs_lock] Gs cut from the first slab
  Lock dead_lock{LockRank::kDeadGs};
  GQueue dead_gs;                          // [dead_lock]
  os::Atomic<int64_t> foreign_spawned{0};  // [a] goroutines made by threads without a P
  os::Atomic<uint64_t> goid_gen{0};        // [a]

  bool deadlock_found = false;  // [s] by who reports it

  // Ending.
  uint64_t ending_goid = 0;              // [c] once exiting is set: who has set it
  os::Atomic<uint32_t> exiting{0};       // [a] Ms shall end
  os::Atomic<uint32_t> live_threads{0};  // [a] threads that still use this object; a futex
  os::Atomic<uint32_t> main_calls{0};    // [a] a futex: calls to the thread in Main, kMainDone
  M* to_start = nullptr;                 // [s] Ms whose threads that thread is to start

  // Counters.
  os::Atomic<uint64_t> handoffs{0};
  os::Atomic<uint64_t> netpoll_readied{0};
  os::Atomic<uint64_t> netpoll_readied_in_stw{0};
  os::Atomic<uint64_t> netpoll_moved{0};
  os::Atomic<uint64_t> netpoll_rehomed{0};
  os::Atomic<uint64_t> netpoll_rings{0};
};

// The one that runs; null when none does.
extern Runtime* the_runtime;
inline Runtime* Rt() {
  return the_runtime;
}
// 0 without one. What outlives a runtime keeps it, since another may have the same address.
inline uint32_t RuntimeSerial() {
  return the_runtime != nullptr ? the_runtime->serial : 0;
}

// ---- Between the scheduler's files. All: m->locks > 0. ----

// schedule.cc. On g0, never returns.
[[noreturn]] void Schedule(M* m);
// Runs `g` (Grunnable, taken from its queue). On g0.
[[noreturn]] void Execute(M* m, G* g, bool inherits_slice);
// Ends the work of a switch for the goroutine left behind; any stack.
void FinishSwitchSlow(M* m, G* prev);
[[gnu::always_inline]] inline void FinishSwitch(M* m) {
  if (G* prev = m->prev; prev != nullptr) {
    m->prev = nullptr;
    FinishSwitchSlow(m, prev);
  }
}
void ReleaseExited(M* m, G* g);

// park.cc. The end of the running goroutine.
[[noreturn]] void ExitGoroutine(M* m, G* g);
// park.cc. From a goroutine's stack to whatever runs next; returns when it is resumed, with the
// M that it is resumed on.
M* SwitchAway(M* m, G* g, AfterSwitch after);
// Makes a waiting goroutine runnable, to run next on this M's P (or anywhere without a P).
void ReadyG(M* m, G* g);

// go.cc
void StartG(M* m, G* g);
void FreeG(M* m, G* g);
G* AllocateG(M* m);

// queue.cc
void PushLocal(P* p, G* g);
void PushNext(P* p, G* g);
void PushGlobal(G* g);                  // takes sched_lock
void PushGlobalLocked(G* g);            // [s]
void PushGlobalQueue(GQueue&& queue);   // takes sched_lock
G* PopGlobalLocked(P* p, int32_t max);  // [s] the others go to p's ring
// A queue of goroutines that became ready at once (Grunnable): to the local ring, or global
// without a P, waking who is needed.
enum Injector { kLooksNext, kBusy };  // who calls runs what is queued next, or goes on itself
void InjectReady(M* m, GQueue&& queue, Injector injector);

// wake.cc
// After work was queued with a full barrier, or without one.
void WakeP();
void FenceAndWakeP();
void StartM(M* m, P* p, bool spinning);
void HandOffP(M* m, P* p);
void StopM(M* m);  // sleeps until given a P, or to exit
void AcquireP(M* m, P* p);
P* ReleaseP(M* m);
P* PopIdlePLocked();           // [s]
void PushIdlePLocked(P* p);    // [s]
void PushIdleMLocked(M* m);    // [s]
void RemoveIdleMLocked(M* m);  // [s]
void WakeM(M* m);
// The M has put itself and its P into the idle lists: rule 2, then sleeps. Has a P again when it
// returns.
void SleepWithoutWork(M* m);
// An M that stops looking and runs goroutines must see to it that somebody else looks: there may be
// more work than it takes (wake.cc, rule 3).
void StopSpinning(M* m);
// What only a sleeping M could see to (the shared set, timers), and none does. [s]
bool IsNeglectedLocked();
void StopLockedM(M* m);
void StartLockedM(M* m, G* g);
G* FindRunnable(M* m, bool* inherits);  // find.cc

// m.cc
inline constexpr uint32_t kMainDone = 1;  // bits of main_calls: this, and calls counted above it
inline constexpr uint32_t kMainCall = 2;
void NewM(P* p, bool spinning);
void StartPendingMs();          // by the thread in Main
[[noreturn]] void ExitM(M* m);  // on g0

// syscall.cc
bool RetakeFromSyscall(P* p);

// world.cc. By who owns the world and holds a P.
enum class StopReason : uint8_t { kResize };
void StopTheWorld(M* m, StopReason reason);
void StartTheWorld(M* m, int procs);
void StopForWorld(M* m);        // on g0: gives the P up, sleeps
void ResizeProcs(M* m, int n);  // [w]
void LockWorld();
void UnlockWorld();
void PreemptAll();
void PreemptOne(P* p);

// safepoint.cc
// By who owns the world: `fn` once for every P, by whoever has it then, or for it. Under sched_lock
// for some of them: it takes no lock of that rank or before, and readies nobody.
void ForEachP(M* m, void (*fn)(P* p, void* arg), void* arg);
void RunSafePoint(P* p);        // by who owns `p`: if it is asked to
void RunSafePointLocked(P* p);  // [s]

// sysmon.cc
void SysmonMain(void* m);
void WakeSysmonLocked();  // [s]

// deadlock.cc
void CheckDeadlockLocked();  // [s]; may release it, never to return

// Who asked goroutines to stop asks again after so long; taken from Go.
inline constexpr int64_t kAskAgain_ns = 100'000;

// newstack.cc
void GiveSlot(M* m);      // at the begin of m's thread, by it
void TakeSlotBack(M* m);  // at its end
void PoisonSlot(M* m);    // m's goroutine stops at its next prologue; for any thread
void PoisonSlotOf(G* g);  // of the M that runs g, if it is seen
bool ClearSlot(M* m);     // by m's thread; was it poisoned?

// timer.cc
int64_t RunTimers(P* p, int64_t now);  // fires what is due; when the next is, 0: none
int64_t EarliestTimer();               // over all Ps, 0: none
int CountTimers();
void MoveTimers(P* from, P* to);  // [w]
void ForgetTimers(P* p);          // at the end: they are in no heap any more

// Whether `is` holds of any G that was ever made, dead ones included. Under gs_lock, but where the
// process ends anyhow.
template <class Predicate>
bool AnyG(Runtime* rt, Predicate is) {
  for (GSlab* slab = rt->slabs; slab != nullptr; slab = slab->next) {
    for (G& g : slab->gs) {
      if (is(&g)) return true;
    }
  }
  return false;
}

// Saves the goroutine's context and calls fn(m) on the system stack; returns when the goroutine is
// resumed, with the M that it is resumed on.
M* Mcall(M* m, G* g, void (*fn)(void*));

uint32_t RandomBelow(M* m, uint32_t n);

// The time slice is over: gives way. The M that the goroutine goes on on.
M* ServePreemption(M* m);

// The runtime's entry from a goroutine: nothing stops the thread while it stands, and a pending
// preemption is served first. On a plain thread m() is null.
class Entry {
 public:
  [[gnu::always_inline]] Entry() : m_(GetM()) {
    if (m_ == nullptr) return;
    m_->locks++;
    // A request that comes after this look is seen by the next entry.
    if (m_->curg->stackguard0.Load(os::kRelaxed<"entry.poll">) == kStackPreempt) [[unlikely]] {
      m_ = ServePreemption(m_);
    }
  }
  [[gnu::always_inline]] ~Entry() {
    if (m_ != nullptr) m_->locks--;
  }
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

  M* m() const { return m_; }
  // After a park: the goroutine may be on another M.
  void Moved(M* m) { m_ = m; }

 private:
  M* m_;
};

// As weft::Park, inside an entry. The goroutine may be on another M afterwards.
[[gnu::always_inline]] inline void ParkIn(Entry& entry, ParkCommit commit, void* arg,
                                          WaitReason reason) {
  M* m = entry.m();
  if (m == nullptr) {
    Park(commit, arg, reason);
    return;
  }
  if (m->p == nullptr) [[unlikely]]
    Fatal("a blocking weft call inside weft::Blocking");
  if (m->locks != 1 || m->curg == &m->g0) [[unlikely]] {
    Fatal("a blocking weft call in a callback that must not block");
  }
  m->curg->wait_reason = reason;
  m->park_commit = commit;
  m->park_arg = arg;
  entry.Moved(SwitchAway(m, m->curg, AfterSwitch::kPark));
}

}  // namespace weft::runtime
