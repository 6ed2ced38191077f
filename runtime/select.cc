// Select: one goroutine waits in several channels' queues; exactly one of them wakes it.
//
// The problem. Several partners may want to wake it at once, each under its own channel's lock;
// and locking all channels of a select together, as Go does, would run the elements' move
// constructors (foreign code) under other channels' core locks.
//
// Actors: the selecting goroutine G; partners, which find G's waiters in the channels' queues; its
// timer. G's select_word: a ticket, used once, and a state: queueing, parked or won.
//   1. G opens a ticket (queueing).
//   2. It visits the cases in random order. Under the channel's lock: if the case can go on, G wins
//   its
//      own word first (CAS queueing -> won), then does the operation, takes back its waiters and is
//      done. Else it puts a waiter with its ticket into the channel's queue.
//   3. It starts its timer, then parks; once parked: CAS queueing -> parked. That fails: won.
//   4. A partner pops a waiter under its channel's lock and CASes the word from queueing or parked
//   to won. If it
//      fails, G is somebody else's: it goes on to the next waiter. If it succeeds it moves the
//      value, marks the waiter, and readies G if the word said parked. The timer does the same.
//   5. G takes its other waiters out of the queues, each under its channel's lock. If it was won
//      before it parked, that also waits for the winner, who holds the lock of the marked waiter's
//      channel until it is done.
// Why a partner never waits for another select: at 2 G has won its own word before it looks for a
// partner, and keeps it whatever comes; if the partner that it saw is lost to somebody else by
// then, G starts again from 1. So claims are never nested, and two selects that find each other
// cannot deadlock. Nothing is missed: a channel that becomes ready after 2 looked at it finds G's
// waiter there. A select that does not wait must not say that nothing was ready when at every
// moment something was: it looks at all channels with all of them locked, in the order of their ids
// and those with parkable locks first; only looks, so no foreign code runs there. A ticket is used
// once: a partner or a timer that comes late finds a different number. The timer's function gets
// the ticket as its seq. G's waiters lie on its stack; after 5 nobody holds a pointer to them: they
// are touched under their channel's lock only, and a winner that readies G touches its waiter only
// before. The word decides, it hands nothing on: that is done by the channels' locks and by the
// readying. Its exchanges are acq_rel all the same, so that it can be understood without them.
#include "weft/select.h"

#include "runtime/chan.h"
#include "runtime/fatal.h"
#include "runtime/os/clock.h"
#include "runtime/sched.h"
#include "runtime/threadg.h"

namespace weft::internal {

using runtime::ChanWaiter;
using runtime::G;
using runtime::kSelectParked;
using runtime::kSelectStateBits;
using runtime::kSelectTicketStep;
using runtime::kSelectWon;
using runtime::M;

namespace {

constexpr int kMaxCases = 255;  // chosen: their waiters lie on the goroutine's stack

bool CommitSelect(Goroutine* g, void* ticket) {
  uint64_t queueing = *static_cast<uint64_t*>(ticket);
  // Step 3. Release: all that G did before it may be readied. Acquire, if it was won: what the
  // winner did comes with its channel's lock (essay).
  return g->select_word.CompareExchange(queueing, queueing | kSelectParked,
                                        os::kAcqRel<"select.park">);
}

// G's own claim, at 2.
bool WinOwn(Goroutine* g, uint64_t ticket) {
  uint64_t queueing = ticket;
  // Fails when a partner was faster; what it did comes with its channel's lock, and what G does
  // goes with this one's: acq_rel hands nothing on (essay).
  return g->select_word.CompareExchange(queueing, ticket | kSelectWon, os::kAcqRel<"select.own">);
}

void TimeOut(void* arg, uintptr_t seq) {
  G* g = static_cast<G*>(arg);
  uint64_t ticket = seq;
  uint64_t parked = ticket | kSelectParked;
  // Step 4. The timer is started before the park: both states may be found.
  if (g->select_word.CompareExchange(parked, ticket | kSelectWon, os::kAcqRel<"select.timeout">)) {
    SetParkResult(g, 0);
    runtime::ReadyG(runtime::GetM(), g);
    return;
  }
  if (WinOwn(g, ticket)) return;
  parked = ticket | kSelectParked;
  // It parked between the two.
  if (g->select_word.CompareExchange(parked, ticket | kSelectWon,
                                     os::kAcqRel<"select.timeout.again">)) {
    SetParkResult(g, 0);
    runtime::ReadyG(runtime::GetM(), g);
  }
}

uint32_t Random(uint32_t n) {
  if (n <= 1) return 0;
  if (M* m = runtime::GetM(); m != nullptr) return runtime::RandomBelow(m, n);
  static constinit os::Atomic<uint64_t> counter{1};
  // A plain thread's choice: any spread will do.
  uint64_t x = counter.FetchAdd(0x9E3779B97F4A7C15ULL, os::kRelaxed<"select.random">);
  x ^= x >> 31;
  x *= 0xBF58476D1CE4E5B9ULL;
  return static_cast<uint32_t>((x >> 32) * n >> 32);
}

// A select under way; on G's stack.
class Selection {
 public:
  Selection(SelectCase* const* cases, int count, ChanWaiter* waiters, uint8_t* order)
      : cases_(cases),
        count_(count),
        waiters_(waiters),
        order_(order),
        g_(Current()),
        timeout_(EarliestTimeout()),
        began_(timeout_ >= 0 ? os::Nanotime() : 0) {}

  int Run(bool block) {
    for (;;) {
      if (!block && count_ > 1 && NoneReady()) return NobodyOrTimeout();
      Open();
      int won = Visit(block);
      if (won != kNone) return won;
      if (!block && count_ > 1) continue;  // somebody was faster
      if (!block) return NobodyOrTimeout();
      if (lost_) return FinishEarly();
      won = ParkAndFinish();
      if (won != kNone) return won;
    }
  }

 private:
  static constexpr int kNone = -2;    // go on
  static constexpr int kNobody = -1;  // no case can go on

  void Open() {
    // Written by its own goroutine alone while no ticket is open.
    ticket_ = (g_->select_word.Load(os::kRelaxed<"select.ticket">) & ~kSelectStateBits) +
              kSelectTicketStep;
    // Published by the channels' locks and the timer heap's.
    g_->select_word.Store(ticket_, os::kRelaxed<"select.open">);
    queued_ = 0;
    lost_ = false;
    for (int i = 0; i < count_; i++) {
      waiters_[i] = ChanWaiter();
      order_[i] = static_cast<uint8_t>(i);
    }
  }

  bool CanGoOn(const SelectCase* c) const {
    const ChanCore* chan = c->chan;
    // All of it under the channel's lock.
    if (chan->closed.Load(os::kRelaxed<"select.closed">)) return true;
    size_t length = chan->count.Load(os::kRelaxed<"select.count">);
    if (c->kind == SelectCase::kSend) {
      return length < chan->capacity || chan->receivers.HasOther(g_, ticket_);
    }
    return length > 0 || chan->senders.HasOther(g_, ticket_);
  }

  // With all channels locked at once.
  bool NoneReady() {
    ChanCore** locked =
        static_cast<ChanCore**>(__builtin_alloca(sizeof(ChanCore*) * static_cast<size_t>(count_)));
    int n = 0;
    for (int i = 0; i < count_; i++) {
      ChanCore* c = cases_[i]->chan;
      if (c == nullptr) continue;
      int at = n;
      while (at > 0 && LocksBefore(c, locked[at - 1])) at--;
      if (at > 0 && locked[at - 1] == c) continue;
      for (int k = n; k > at; k--) locked[k] = locked[k - 1];
      locked[at] = c;
      n++;
    }
    LockAll(locked, n);
    bool none = true;
    for (int i = 0; i < count_ && none; i++) {
      none = cases_[i]->chan == nullptr || !CanGoOn(cases_[i]);
    }
    for (int i = n - 1; i >= 0; i--) UnlockChan(locked[i]);
    return none;
  }

  // Elements' constructors run under parkable locks, and may take another one, in any order: so
  // only the first of them is waited for. If a later one is taken, all are let go, and that one is
  // waited for alone, before it begins again.
  static void LockAll(ChanCore** locked, int n) {
    int taken = 0;
    while (taken < n) {
      ChanCore* c = locked[taken];
      const bool waits = taken == 0 || c->trivial;
      if (waits) LockChan(c);
      if (waits || c->park_lock.TryAcquire()) {
        taken++;
        continue;
      }
      while (taken > 0) UnlockChan(locked[--taken]);
      LockChan(c);
      UnlockChan(c);
    }
  }

  static bool LocksBefore(const ChanCore* a, const ChanCore* b) {
    if (a->trivial != b->trivial) return !a->trivial;
    return a->id < b->id;
  }

  static runtime::ChanWaiterList& QueueOf(SelectCase* c) {
    return c->kind == SelectCase::kSend ? c->chan->senders : c->chan->receivers;
  }

  // Step 2 for all cases. kNone: queued everywhere, or lost_.
  int Visit(bool block) {
    for (int left = count_; left > 0; left--) {
      // Each order has the same chance, so each ready case has.
      uint32_t pick = Random(static_cast<uint32_t>(left));
      int i = order_[pick];
      order_[pick] = order_[left - 1];
      SelectCase* c = cases_[i];
      if (c->chan == nullptr) continue;
      LockChan(c->chan);
      if (!CanGoOn(c)) {
        if (block) Queue(c, i);
        UnlockChan(c->chan);
        continue;
      }
      if (queued_ > 0 && !WinOwn(g_, ticket_)) {
        UnlockChan(c->chan);
        lost_ = true;
        return kNone;
      }
      Goroutine* wake = nullptr;
      bool ok = true;
      bool done = c->kind == SelectCase::kSend ? TrySendLocked(c->chan, c->value, &ok, &wake)
                                               : TryReceiveLocked(c->chan, c->value, &ok, &wake);
      UnlockChan(c->chan);
      TakeBack();
      if (wake != nullptr) Ready(wake);
      if (done) {
        c->ok = ok;
        return i;
      }
      // Its partner was lost to another select after CanGoOn: from the beginning.
      Open();
      left = count_ + 1;
    }
    return kNone;
  }

  void Queue(SelectCase* c, int i) {
    ChanWaiter* w = &waiters_[i];
    w->g = g_;
    w->value = c->value;
    w->chan = c->chan;
    w->ticket = ticket_;
    w->case_index = i;
    QueueOf(c).PushBack(w);
    queued_++;
  }

  // Step 5.
  void TakeBack() {
    if (queued_ == 0) return;
    for (int i = 0; i < count_; i++) {
      if (waiters_[i].chan == nullptr || &waiters_[i] == finished_) continue;
      LockChan(waiters_[i].chan);
      QueueOf(cases_[i]).Remove(&waiters_[i]);
      UnlockChan(waiters_[i].chan);
    }
    queued_ = 0;
  }

  // Won before it was parked, by whom is seen once the locks have been passed.
  int FinishEarly() {
    TakeBack();
    for (int i = 0; i < count_; i++) {
      if (!waiters_[i].won) continue;
      cases_[i]->ok = waiters_[i].ok;
      return i;
    }
    return FinishTimeout();
  }

  int FinishTimeout() {
    WEFT_CHECK(timeout_ >= 0);
    cases_[timeout_]->ok = true;
    return timeout_;
  }

  // Nothing is ready; but a time-out of 0 has passed.
  int NobodyOrTimeout() {
    return timeout_ >= 0 && cases_[timeout_]->timeout_ns <= 0 ? FinishTimeout() : kNobody;
  }

  int EarliestTimeout() const {
    int earliest = -1;
    for (int i = 0; i < count_; i++) {
      // An infinite one is no time-out.
      if (cases_[i]->kind != SelectCase::kTimeout || cases_[i]->timeout_ns == INT64_MAX) continue;
      if (earliest < 0 || cases_[i]->timeout_ns < cases_[earliest]->timeout_ns) earliest = i;
    }
    return earliest;
  }

  int ParkAndFinish() {
    if (timeout_ >= 0) {
      int64_t ns = cases_[timeout_]->timeout_ns;
      if (ns <= 0) {
        if (!WinOwn(g_, ticket_)) return FinishEarly();
        TakeBack();
        return FinishTimeout();
      }
      StartTimer(ns > INT64_MAX - began_ ? INT64_MAX : began_ + ns);
    }
    g_->park_result = kNotReadied;
    Park(CommitSelect, &ticket_,
         queued_ == 0 && timeout_ < 0 ? WaitReason::kSelectNoCases : WaitReason::kSelect);
    uintptr_t result = g_->park_result;
    if (timeout_ >= 0 && result != 0) StopTimer();
    if (result == kNotReadied) return FinishEarly();
    finished_ = reinterpret_cast<ChanWaiter*>(result);
    TakeBack();
    if (finished_ == nullptr) return FinishTimeout();
    cases_[finished_->case_index]->ok = finished_->ok;
    return finished_->case_index;
  }

  void StartTimer(int64_t when) {
    if (g_->is_thread) {
      runtime::SetThreadTimer(when, TimeOut, g_, ticket_);
    } else {
      runtime::AddTimer(&g_->sleep_timer, when, 0, TimeOut, g_, ticket_);
    }
  }

  void StopTimer() {
    if (g_->is_thread) {
      runtime::SetThreadTimer(0, nullptr, nullptr, 0);
    } else {
      runtime::DeleteTimer(&g_->sleep_timer);
    }
  }

  static constexpr uintptr_t kNotReadied = 1;

  SelectCase* const* cases_;
  int count_;
  ChanWaiter* waiters_;
  uint8_t* order_;  // the cases that are still to be visited, first
  Goroutine* g_;
  const int timeout_;    // the case of the earliest time-out, or -1
  const int64_t began_;  // Nanotime(), if there is one
  uint64_t ticket_ = 0;
  int queued_ = 0;
  bool lost_ = false;  // won by a partner while it was queueing
  ChanWaiter* finished_ = nullptr;
};

}  // namespace

int SelectCases(SelectCase* const* cases, int count, bool block) {
  if (count > kMaxCases) {
    runtime::Fatal("select of %u cases; %u are the most", static_cast<uint64_t>(count),
                   static_cast<uint64_t>(kMaxCases));
  }
  { runtime::Entry poll; }
  size_t room = static_cast<size_t>(count == 0 ? 1 : count);
  ChanWaiter* waiters = static_cast<ChanWaiter*>(__builtin_alloca(sizeof(ChanWaiter) * room));
  uint8_t* order = static_cast<uint8_t*>(__builtin_alloca(room));
  return Selection(cases, count, waiters, order).Run(block);
}

}  // namespace weft::internal
