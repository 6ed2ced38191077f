// Rings: each M's own io_uring, with a multishot poll for each connection that it waited for first.
//
// The problem. The cheapest way to learn of readiness is a ring that its owner enters when it runs
// dry; but what a ring reports is seen by its owner only, and an owner may compute, or block in
// foreign code.
//
// Actors: the owner M, the only one to submit and reap; closers, goroutines on any M; sysmon.
//   1. A connection's first wait on M adds a poll to M's submission queue and the descriptor to the
//      ring's list. It is submitted with M's next enter: at its next tick or when it sleeps.
//   2. M reaps when it enters. A report names a use of a descriptor (Desc::Token); one for a
//      former use is dropped. A multishot that has ended is added again.
//   3. Close on M: the poll is removed and the ring entered, so the kernel has let go of the file
//      before it is closed. Close elsewhere: the descriptor goes to the ring's `closing` list; the
//      owner is woken if it sleeps, removes the poll and frees the descriptor. Until then no new
//      use gets it.
//   4. sysmon sees a ring that waits (readable, or with unsubmitted polls) and that its owner has
//      not entered since the last look, 100 us ago or more, while an idle P or another M could
//      serve it: it moves all its descriptors to the shared set, for good: one epoll_ctl each. The
//      polls stay until the owner comes back and removes them; reports from both are harmless.
//   5. An owner that wakes again and again in its ring without finding a P (its connections'
//      goroutines run elsewhere) moves them too (poller.cc).
// Who decides between 3 and 4: the ring's lock. A descriptor is in one ring's list or in none.
// Idea not taken: rings' descriptors in the shared set, watched by idle Ms: each completion would
// wake the watcher as well as the owner, and a ring could not poll the set.
#include "netpoll/pollers.h"
#include "runtime/fatal.h"
#include "runtime/os/clock.h"

namespace weft::netpoll {

using runtime::GQueue;
using runtime::M;

namespace {

constexpr unsigned kSubmissions = 256;
constexpr unsigned kCompletions = 16384;  // 256 KiB of kernel memory a ring
// Below the completion queue: it does not overflow even if all report at once.
constexpr int32_t kMostPolls = 15'000;
constexpr uint32_t kMask = os::kPollIn | os::kPollOut | os::kPollReadHangUp;
constexpr unsigned kBatch = 64;

// user_data that are no descriptors: those are 64-byte aligned and never below 4096.
constexpr uint64_t kIgnore = 0;
constexpr uint64_t kWake = 1;
constexpr uint64_t kSharedReady = 2;

constexpr int64_t kAttendance_ns = 100'000;  // a ring may wait this long for its owner

void EnterRing(Ring* r) {
  // Read by sysmon, who wants a change only.
  runtime::Bump(r->entered);
  int error = r->uring.Enter();
  // EAGAIN and EBUSY: completions must be reaped first; the next round submits.
  if (error == 0) r->unsubmitted.Store(false, os::kRelaxed<"ring.submitted">);  // for sysmon
}

void AddPollOrEnter(Ring* r, int fd, uint64_t token) {
  while (!r->uring.AddPoll(fd, kMask, token)) EnterRing(r);
  r->unsubmitted.Store(true, os::kRelaxed<"ring.unsubmitted">);  // for sysmon
}

void LinkLocked(Ring* r, Desc* d) {
  d->ring.Store(r, os::kRelease<"ring.link">);  // decided under the lock
  d->ring_prev = nullptr;
  d->ring_next = r->descs;
  if (r->descs != nullptr) r->descs->ring_prev = d;
  r->descs = d;
  runtime::Bump(r->count);
}

void UnlinkLocked(Ring* r, Desc* d) {
  d->ring.Store(nullptr, os::kRelease<"ring.unlink">);  // decided under the lock
  (d->ring_prev != nullptr ? d->ring_prev->ring_next : r->descs) = d->ring_next;
  if (d->ring_next != nullptr) d->ring_next->ring_prev = d->ring_prev;
  runtime::Bump(r->count, -1);
}

// The polls that every ring has: its eventfd and the shared set.
void AddOwnPolls(Ring* r) {
  while (!r->uring.AddPoll(r->wake_fd, os::kPollIn, kWake)) EnterRing(r);
  while (!r->uring.AddPoll(Np()->shared.fd(), os::kPollIn, kSharedReady)) EnterRing(r);
}

Ring* OpenRing(M* m) {
  Netpoll* np = Np();
  Ring* r = runtime::Rt()->alloc.New<Ring>();
  r->wake_fd = os::OpenEvent();
  if (r->wake_fd < 0 || r->uring.Open(kSubmissions, kCompletions) != 0) {
    // Descriptors or locked memory have run out: the shared set serves.
    if (r->wake_fd >= 0) os::CloseDescriptor(r->wake_fd);
    return nullptr;
  }
  r->owner = m;
  AddOwnPolls(r);
  EnterRing(r);
  r->uring.ActivatePolling();
  m->ring.Store(r, os::kRelaxed<"ring.own">);                              // the owner's own word
  runtime::Rt()->netpoll_rings.FetchAdd(1, os::kRelaxed<"ring.counter">);  // a counter
  for (os::Atomic<Ring*>& entry : np->rings) {
    Ring* none = nullptr;
    // Pairs with WatchRings.
    if (entry.CompareExchange(none, r, os::kRelease<"ring.publish">)) break;
  }
  return r;
}

// Step 3 for what others closed, and the clean-up after 4.
void ServeRequests(Ring* r) {
  if (r->moved.Load(os::kAcquire<"ring.moved.look">)) {  // pairs with MoveToShared
    r->moved.Store(false, os::kRelaxed<"ring.moved.clear">);
    while (!r->uring.RemoveAll(kIgnore)) EnterRing(r);
    EnterRing(r);
    AddOwnPolls(r);
  }
  if (!r->has_closing.Load(os::kAcquire<"ring.closing.look">))
    return;  // a hint, again at the next enter
  Desc* list = nullptr;
  {
    runtime::LockGuard guard(r->lock);
    list = r->closing;
    r->closing = nullptr;
    r->has_closing.Store(false, os::kRelaxed<"ring.closing.clear">);  // under the lock
  }
  while (list != nullptr) {
    Desc* d = list;
    list = d->ring_next;
    while (!r->uring.RemovePoll(d->Token())) EnterRing(r);
    // Only now: its reports so far were for the closed use.
    d->generation.FetchAdd(1, os::kRelaxed<"ring.closing.generation">);
    FreeDesc(d);
  }
}

// A poll that cannot stay in the ring: the shared set takes it, or its waiters are told.
void Fallback(Ring* r, Desc* d) {
  runtime::LockGuard guard(d->lock);
  {
    runtime::LockGuard ring_guard(r->lock);
    if (d->ring.Load(os::kRelaxed<"ring.fallback">) != r) return;  // under the lock
    UnlinkLocked(r, d);
  }
  if (!d->in_shared) d->error = RegisterShared(d);
}

void HandleEvent(Ring* r, const os::UringEvent& event, GQueue* out) {
  if (event.user_data == kIgnore) return;
  if (event.user_data == kWake || event.user_data == kSharedReady) {
    if (event.user_data == kSharedReady && event.result >= 0) ReadShared(0, out);
    if (!event.more && event.result != -ECANCELED) AddOwnPolls(r);
    return;
  }
  Desc* d = Desc::FromToken(event.user_data);
  if (d == nullptr) return;
  if (event.result >= 0 || event.result == -ECANCELED) {
    if (event.result >= 0) Report(d, static_cast<uint32_t>(event.result), out);
    // The kernel ends a multishot when completions overflow, and RemoveAll takes those that were
    // added after a move. Closers take the descriptor out of the ring before they cancel.
    if (!event.more && d->ring.Load(os::kAcquire<"ring.rearm">) == r) {
      AddPollOrEnter(r, d->fd, d->Token());
    }
    return;
  }
  Fallback(r, d);
  Report(d, os::kPollError, out);
}

}  // namespace

Ring* RingOf(M* m) {
  // The owner's own word.
  if (void* r = m->ring.Load(os::kRelaxed<"ring.of">); r != nullptr) return static_cast<Ring*>(r);
  if (m->lockedg.Load(os::kRelaxed<"ring.of.locked">) != nullptr) return nullptr;  // own word
  int32_t procs = runtime::Rt()->procs.Load(os::kRelaxed<"ring.procs">);           // a bound
  int32_t most = procs * kRingsPerP < kMaxRings ? procs * kRingsPerP : kMaxRings;
  // A bound: it may be passed by a few that open at once.
  uint64_t open = runtime::Rt()->netpoll_rings.Load(os::kRelaxed<"ring.limit">);
  if (open >= static_cast<uint64_t>(most)) return nullptr;
  return OpenRing(m);
}

bool AddToRing(Ring* r, Desc* d) {
  if (r->count.Load(os::kRelaxed<"ring.full">) >= kMostPolls) return false;  // a bound
  {
    runtime::LockGuard guard(r->lock);
    LinkLocked(r, d);
  }
  d->was_in_ring = true;
  AddPollOrEnter(r, d->fd, d->Token());
  return true;
}

void ReadRing(Ring* r, int64_t timeout_ns, bool sleep, GQueue* out) {
  ServeRequests(r);
  if (sleep) {
    runtime::Bump(r->entered);                                       // as in EnterRing
    r->asleep.Store(true, os::kRelaxed<"ring.asleep">);              // for sysmon
    r->unsubmitted.Store(false, os::kRelaxed<"ring.sleep.submit">);  // for sysmon
    int error = r->uring.EnterAndWait(timeout_ns);
    r->asleep.Store(false, os::kRelaxed<"ring.awake">);  // for sysmon
    (void)error;  // EAGAIN, EBUSY: what is there is reaped, the rest comes with the next enter
  } else if (r->uring.HasWork()) {
    EnterRing(r);
  } else {
    return;
  }
  os::UringEvent events[kBatch];
  for (;;) {
    unsigned n = r->uring.Reap(events, kBatch);
    WarmUp(events, n);
    for (unsigned i = 0; i < n; i++) HandleEvent(r, events[i], out);
    if (n < kBatch) break;
  }
}

Ring* UnlinkFromRing(Desc* d) {
  // Decided under the ring's lock: sysmon may be moving it.
  Ring* r = d->ring.Load(os::kAcquire<"ring.unlink.look">);
  if (r == nullptr) return nullptr;
  runtime::LockGuard guard(r->lock);
  if (d->ring.Load(os::kRelaxed<"ring.unlink.check">) != r) return nullptr;  // under the lock
  UnlinkLocked(r, d);
  return r;
}

void RemovePollNow(Ring* r, Desc* d, GQueue* out) {
  while (!r->uring.RemovePoll(d->Token())) EnterRing(r);
  ReadRing(r, 0, false, out);
}

void LeaveToOwner(Ring* r, Desc* d) {
  bool wake = false;
  {
    runtime::LockGuard guard(r->lock);
    wake = r->closing == nullptr;
    d->ring_next = r->closing;
    r->closing = d;
    r->has_closing.Store(true, os::kRelease<"ring.closing.set">);  // pairs with ServeRequests
  }
  if (wake) os::SignalEvent(r->wake_fd);
}

void MoveToShared(Ring* r) {
  uint64_t moved = 0;
  for (;;) {
    Desc* d = nullptr;
    {
      runtime::LockGuard guard(r->lock);
      d = r->descs;
    }
    if (d == nullptr) break;
    // Its own lock comes before the ring's; it may have been closed, and even opened again, since.
    runtime::LockGuard guard(d->lock);
    if (UnlinkFromRing(d) != r) continue;
    if (!d->in_shared && RegisterShared(d) == 0) moved++;
  }
  // For counters.
  runtime::Rt()->netpoll_moved.FetchAdd(moved, os::kRelaxed<"move.counter">);
  // Pairs with ServeRequests.
  r->moved.Store(true, os::kRelease<"ring.moved.set">);
}

void CloseRing(M* m, Ring* r) {
  MoveToShared(r);
  ServeRequests(r);
  for (os::Atomic<Ring*>& entry : Np()->rings) {
    Ring* own = r;
    // Only its owner closes it; sysmon may look at it a moment longer, its memory stays.
    if (entry.CompareExchange(own, nullptr, os::kRelease<"ring.close.entry">)) break;
  }
  r->uring.Close();
  os::CloseDescriptor(r->wake_fd);
  m->ring.Store(nullptr, os::kRelaxed<"ring.close.own">);  // the owner's own word
  m->ring_polls = 0;
  runtime::Rt()->netpoll_rings.FetchSub(1, os::kRelaxed<"ring.close.counter">);  // a counter
}

void WatchRings(int64_t now) {
  Netpoll* np = Np();
  runtime::Runtime* rt = runtime::Rt();
  uint64_t left = rt->netpoll_rings.Load(os::kRelaxed<"watch.count">);  // a hint
  for (int32_t i = 0; i < kMaxRings && left > 0; i++) {
    Ring* r = np->rings[i].Load(os::kAcquire<"watch.ring">);  // pairs with OpenRing
    if (r == nullptr) continue;
    left--;
    if (r->count.Load(os::kRelaxed<"watch.polls">) == 0) continue;
    // Hints, all of them; a move that was not needed is harmless.
    uint32_t entered = r->entered.Load(os::kRelaxed<"watch.entered">);
    bool attended = r->asleep.Load(os::kRelaxed<"watch.asleep">) || entered != r->seen_entered;
    r->seen_entered = entered;
    if (attended) {
      r->waiting_since = 0;
      continue;
    }
    // Nobody could do better: its owner holds the only P that there is.
    bool others = rt->idle_p_count.Load(os::kRelaxed<"watch.idle">) > 0 ||
                  !r->owner->has_p.Load(os::kRelaxed<"watch.owner">);
    if (!others) continue;
    if (!r->unsubmitted.Load(os::kRelaxed<"watch.unsubmitted">) &&
        !os::RingIsReadable(r->uring.fd())) {
      r->waiting_since = 0;
      continue;
    }
    if (r->waiting_since == 0) {
      r->waiting_since = now;
    } else if (now - r->waiting_since >= kAttendance_ns) {
      MoveToShared(r);
      r->waiting_since = 0;
    }
  }
}

}  // namespace weft::netpoll
