// The protocol of a plain thread's park:
//   1. the thread moves its G Grunning -> Gwaiting, 2. runs the commit, 3. sleeps on `woken`;
//   a. a readier moves the G Gwaiting -> Grunnable, b. sets `woken`, c. wakes the futex.
// The thread goes on when it sees `woken`, so after a: Grunnable -> Grunning. c may come after
// the thread has gone on and even ended: a futex wake on memory that is no longer a futex wakes
// nobody or one that checks again.
#include "runtime/threadg.h"

#include "runtime/lock.h"
#include "runtime/m.h"
#include "runtime/os/clock.h"
#include "runtime/os/futex.h"

namespace weft::runtime {

namespace {

struct ThreadGoroutine : G {
  os::Atomic<uint32_t> woken{0};
};

// Stand-ins of ended threads, for the next ones. They are never freed: a timer that fired as its
// select was won may still look at the select's word.
constinit Lock spare_lock(LockRank::kDeadGs);
constinit G* spare = nullptr;  // [spare_lock]

// Gives the stand-in back at thread exit.
struct Holder {
  ThreadGoroutine* g = nullptr;
  ~Holder() {
    weft_set_thread_g(nullptr);
    if (g == nullptr) return;
    LockGuard guard(spare_lock);
    g->schedlink = spare;
    spare = g;
  }
};
thread_local Holder holder;

ThreadGoroutine* TakeSpare() {
  LockGuard guard(spare_lock);
  G* g = spare;
  if (g != nullptr) spare = g->schedlink;
  return static_cast<ThreadGoroutine*>(g);
}

}  // namespace

G* ThreadG() {
  if (void* g = weft_get_thread_g(); g != nullptr) return static_cast<G*>(g);
  ThreadGoroutine* g = TakeSpare();
  if (g == nullptr) {
    // Not in the core: a plain thread outside of any lock may allocate.
    g = new ThreadGoroutine;
    g->is_thread = true;
    CasGStatus<Gidle, Gdead>(g);
    CasGStatus<Gdead, Grunnable>(g);
    CasGStatus<Grunnable, Grunning>(g);
  }
  g->context_slot = nullptr;
  holder.g = g;
  weft_set_thread_g(static_cast<G*>(g));
  return g;
}

void SetThreadTimer(int64_t when, TimerFunction function, void* arg, uintptr_t seq) {
  Timer& t = ThreadG()->sleep_timer;
  t.when = when;
  t.function = function;
  t.arg = arg;
  t.seq = seq;
}

namespace {
// Returns when it was woken, when its timer has run, or for no reason.
void SleepUntilWoken(ThreadGoroutine* g) {
  Timer& t = g->sleep_timer;
  if (t.when == 0) {
    os::FutexWait(g->woken, 0);
    return;
  }
  const int64_t left = t.when - os::Nanotime();
  if (left > 0) {
    os::FutexWait(g->woken, 0, left);
    return;
  }
  t.when = 0;
  t.function(t.arg, t.seq);
}
}  // namespace

void ParkThread(ParkCommit commit, void* arg, WaitReason reason) {
  ThreadGoroutine* g = static_cast<ThreadGoroutine*>(ThreadG());
  g->wait_reason = reason;
  CasGStatus<Grunning, Gwaiting>(g);
  if (commit != nullptr && !commit(g, arg)) {
    CasGStatus<Gwaiting, Grunning>(g);
    return;
  }
  // Pairs with ReadyThread.
  while (g->woken.Load(os::kAcquire<"threadg.sleep">) == 0) SleepUntilWoken(g);
  // Before the G can be readied again, which takes a Gwaiting that only this thread makes.
  g->woken.Store(0, os::kRelaxed<"threadg.clear">);
  CasGStatus<Grunnable, Grunning>(g);
}

void ReadyThread(G* g) {
  ThreadGoroutine* t = static_cast<ThreadGoroutine*>(g);
  CasGStatus<Gwaiting, Grunnable>(t);
  // What the readier did comes before; pairs with threadg.sleep.
  t->woken.Store(1, os::kRelease<"threadg.wake">);
  os::FutexWake(t->woken, 1);
}

}  // namespace weft::runtime
