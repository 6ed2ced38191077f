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
//   3. Close on M: the poll is cancelled and the ring entered until the poll's last report has
//   come,
//      so the kernel has let go of the file before it is closed. (Since Linux 6.13 an enter runs 20
//      pieces of task work at most: the last report may take several.) Close elsewhere: the
//      descriptor goes from the ring's list to its `closing` list in one critical section; the
//      owner is woken however it sleeps, cancels the poll and frees the descriptor. Until then no
//      new use gets it.
//   4. sysmon moves all of a ring's descriptors to the shared set, for good (one epoll_ctl each),
//      when its owner neither sleeps in it nor has entered it since the last look, and
//        - something waits in it (readable, or polls not submitted) for 100 us, while an idle P or
//          another M could serve it, or for 10 ms beside other Ps; or
//        - its owner has been away for 10 ms (in Blocking, or bound to a goroutine that sleeps).
//      Before sysmon goes to sleep itself no ring is left in that state. The polls stay until the
//      owner comes back and cancels them; reports from both are harmless.
//   5. An owner that wakes again and again in its ring without finding a P (its connections'
//      goroutines run elsewhere) moves them too (poller.cc).
//   6. A reader that comes to wait on another M than its ring's owner some times in a row (thieves
//      run it) takes its descriptor along: under d->lock, out of the old ring's list, whose owner
//      finds the poll's token among those to be removed (`left`) at its next enter; into its own
//      M's ring. Until then both rings report, which is harmless; and a close shuts the socket
//      down, since the old ring may still refer to the file.
// A descriptor is in one ring's list, in one ring's `closing` list, or in none; d->ring changes
// only under d->lock and that ring's lock. A descriptor that the shared set refuses is in no
// poller: it is marked unregistered and its waiters wake, try, and register it again. A Ring and
// its eventfd stay with the M's struct until the runtime ends: a waker may still be about to write
// to it after the M has left (and another M has taken the struct). Idea not taken: rings'
// descriptors in the shared set, watched by idle Ms: each completion would wake the watcher as well
// as the owner, and a ring could not poll the set.
#include <algorithm>
#include <cerrno>
#include <utility>

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
constexpr unsigned kReapedAtOnce = 64;

// user_data that are no descriptors: those are 64-byte aligned and never below 4096.
constexpr uint64_t kIgnore = 0;
constexpr uint64_t kWake = 1;
constexpr uint64_t kSharedReady = 2;
constexpr uint64_t kCancelled = 3;

constexpr int64_t kAttendance_ns = 100'000;  // a ring may wait this long for its owner
constexpr int64_t kAway_ns = 10'000'000;     // an owner that stays away this long: a time slice
// Chosen: far more than 16384 waiting completions at 20 an enter.
constexpr int kMostEnters = 4096;

void EnterRing(Ring* r) {
  // Read by sysmon, who wants a change only.
  runtime::Bump(r->entered);
  int error = r->uring.Enter();
  // EAGAIN and EBUSY: completions must be reaped first; the next round submits.
  if (error == 0) r->unsubmitted.Store(false, os::kRelaxed<"ring.submitted">);  // for sysmon
  if (error == -EBADR) r->lost = true;
}

// False: the kernel takes nothing just now.
bool AddPollOrEnter(Ring* r, int fd, uint64_t token) {
  if (!r->uring.AddPoll(fd, kBothModes, token)) {
    EnterRing(r);
    if (!r->uring.AddPoll(fd, kBothModes, token)) return false;
  }
  r->unsubmitted.Store(true, os::kRelaxed<"ring.unsubmitted">);  // for sysmon
  return true;
}

void CountPolls(Ring* r, int32_t change) {
  const int32_t polls = r->count.Load(os::kRelaxed<"ring.polls">) + change;  // under the lock
  // Release: who sees that none are left sees why; pairs with poller.polls.
  r->count.Store(polls, os::kRelease<"ring.count">);
  // For the owner's own decisions: a moment's truth.
  r->owner->ring_polls.Store(polls, os::kRelaxed<"ring.polls.note">);
}

void LinkLocked(Ring* r, Desc* d) {
  d->ring.Store(r, os::kRelaxed<"ring.link">);  // decided under the lock
  d->ring_prev = nullptr;
  d->ring_next = r->descs;
  if (r->descs != nullptr) r->descs->ring_prev = d;
  r->descs = d;
  CountPolls(r, 1);
}

void UnlinkLocked(Ring* r, Desc* d) {
  d->ring.Store(nullptr, os::kRelaxed<"ring.unlink">);  // decided under the lock
  (d->ring_prev != nullptr ? d->ring_prev->ring_next : r->descs) = d->ring_next;
  if (d->ring_next != nullptr) d->ring_next->ring_prev = d->ring_prev;
  CountPolls(r, -1);
}

// The polls that every ring has: its eventfd and the shared set.
void AddOwnPoll(Ring* r, uint64_t which) {
  int fd = which == kWake ? r->wake_fd : Np()->shared.fd();
  while (!r->uring.AddPoll(fd, os::kPollIn, which)) EnterRing(r);
}

void AddOwnPolls(Ring* r) {
  AddOwnPoll(r, kWake);
  AddOwnPoll(r, kSharedReady);
}

// The M's Ring, which stays with it. `refused` from the first failure on: descriptors or locked
// memory have run out, and the shared set serves.
Ring* OpenRing(M* m, Ring* r) {
  Netpoll* np = Np();
  if (r == nullptr) {
    r = runtime::Rt()->alloc.New<Ring>();
    r->owner = m;
    m->ring.Store(r, os::kRelaxed<"ring.own">);  // wakers are ordered by the M's sleep
  }
  if (r->wake_fd < 0) r->wake_fd = os::OpenEvent();
  if (r->wake_fd < 0 || r->uring.Open(kSubmissions, kCompletions) != 0) {
    r->refused = true;
    return nullptr;
  }
  r->open = true;
  AddOwnPolls(r);
  EnterRing(r);
  r->uring.ActivatePolling();
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
  if (r->moved.Load(os::kRelaxed<"ring.moved.look">)) {  // pairs with MoveToShared
    r->moved.Store(false, os::kRelaxed<"ring.moved.clear">);
    while (!r->uring.RemoveAll(kIgnore)) EnterRing(r);
    EnterRing(r);
    AddOwnPolls(r);
  }
  if (!r->has_requests.Load(os::kRelaxed<"ring.closing.look">))
    return;  // a hint, again at the next enter
  Desc* list = nullptr;
  uint64_t left[kMostLeft];
  int32_t left_count = 0;
  {
    runtime::LockGuard guard(r->lock);
    list = r->closing;
    r->closing = nullptr;
    std::swap(left_count, r->left_count);
    std::copy_n(r->left, left_count, left);
    r->has_requests.Store(false, os::kRelaxed<"ring.closing.clear">);  // under the lock
  }
  while (list != nullptr) {
    Desc* d = list;
    list = d->ring_next;
    while (!r->uring.RemovePoll(d->Token(), kIgnore)) EnterRing(r);
    EndUse(d);
  }
  for (int32_t i = 0; i < left_count; i++) {
    while (!r->uring.RemovePoll(left[i], kIgnore)) EnterRing(r);
  }
}

// A poll that cannot stay in the ring: the shared set takes it, or its waiters are told.
void Fallback(Ring* r, Desc* d, GQueue* out) {
  runtime::LockGuard guard(d->lock);
  {
    runtime::LockGuard ring_guard(r->lock);
    if (d->ring.Load(os::kRelaxed<"ring.fallback">) != r) return;  // under the lock
    UnlinkLocked(r, d);
  }
  if (!d->in_shared && RegisterShared(d) != 0) Forget(d, out);
}

// A multishot has ended: again, if `d` is still in the ring. Under the ring's lock it stays, so
// that its use cannot end: sysmon may move it at any moment, and then anybody may close it.
void PollAgain(Ring* r, Desc* d, GQueue* out) {
  int fd = -1;
  uint64_t token = 0;
  {
    runtime::LockGuard guard(r->lock);
    if (d->ring.Load(os::kRelaxed<"ring.rearm">) != r) return;  // under the lock
    fd = d->fd;
    token = d->Token();
  }
  // If it is moved only now, the poll goes with the others of this ring (ServeRequests).
  if (!AddPollOrEnter(r, fd, token)) Fallback(r, d, out);
}

void HandleEvent(Ring* r, const os::UringEvent& event, GQueue* out) {
  if (event.user_data == kIgnore) return;
  if (event.user_data == kCancelled) {
    // It had ended by itself.
    if (event.result == -ENOENT) r->awaited = 0;
    return;
  }
  if (event.user_data == r->awaited && !event.more) r->awaited = 0;
  if (event.user_data == kWake || event.user_data == kSharedReady) {
    if (event.user_data == kSharedReady && event.result >= 0) ReadShared(0, out);
    if (!event.more && event.result != -ECANCELED) AddOwnPoll(r, event.user_data);
    return;
  }
  Desc* d = Desc::FromToken(event.user_data);
  if (d == nullptr) return;
  if (event.result >= 0 || event.result == -ECANCELED) {
    if (event.result >= 0) {
      Report(d, event.user_data, static_cast<uint32_t>(event.result), out);
    }
    // The kernel ends a multishot when completions overflow, and RemoveAll takes those that were
    // added after a move. Closers take the descriptor out of the ring before they cancel.
    if (!event.more) PollAgain(r, d, out);
    return;
  }
  Fallback(r, d, out);
  Report(d, event.user_data, os::kPollError, out);
}

}  // namespace

Ring* RingOf(M* m) {
  if (m->lockedg.Load(os::kRelaxed<"ring.of.locked">) != nullptr) return nullptr;  // own word
  // The owner's own word.
  Ring* r = static_cast<Ring*>(m->ring.Load(os::kRelaxed<"ring.of">));
  if (r != nullptr && r->open) return r;
  if (r != nullptr && r->refused) return nullptr;
  int32_t procs = runtime::Rt()->procs.Load(os::kRelaxed<"ring.procs">);  // a bound
  int32_t most = procs * kRingsPerP < kMaxRings ? procs * kRingsPerP : kMaxRings;
  // A bound: it may be passed by a few that open at once.
  uint64_t open = runtime::Rt()->netpoll_rings.Load(os::kRelaxed<"ring.limit">);
  if (open >= static_cast<uint64_t>(most)) return nullptr;
  return OpenRing(m, r);
}

bool AddToRing(Ring* r, Desc* d) {
  if (r->count.Load(os::kRelaxed<"ring.full">) >= kMostPolls) return false;  // a bound
  if (!AddPollOrEnter(r, d->fd, d->Token())) return false;
  d->was_in_ring = true;
  runtime::LockGuard guard(r->lock);
  LinkLocked(r, d);
  return true;
}

namespace {

// Out of the list of `r`, whose owner is to remove the poll. False: it is not in it, or `r` has no
// room for the request.
bool LeaveRing(Ring* r, Desc* d) {
  d->lock.AssertHeld();
  runtime::LockGuard guard(r->lock);
  if (d->ring.Load(os::kRelaxed<"rehome.check">) != r) return false;  // under both locks
  if (r->left_count == kMostLeft) return false;
  r->left[r->left_count++] = d->Token();
  // Another token from here on: should it come back before the owner has removed this poll, that
  // one's last report and its removal are not the new poll's.
  d->flags.FetchAdd(kGeneration, os::kRelaxed<"rehome.generation">);
  r->has_requests.Store(true, os::kRelaxed<"rehome.left">);  // pairs with ServeRequests
  UnlinkLocked(r, d);
  return true;
}

}  // namespace

void Rehome(M* m, Desc* d, Ring* from) {
  Ring* to = RingOf(m);
  if (to == nullptr) return;
  GQueue woken;
  {
    runtime::LockGuard guard(d->lock);
    if (!LeaveRing(from, d)) return;
    d->was_rehomed = true;
    if (AddToRing(to, d)) {
      runtime::Rt()->netpoll_rehomed.FetchAdd(1, os::kRelaxed<"rehome.counter">);  // a counter
    } else {
      Forget(d, &woken);  // the reader registers it again, as at its first wait
    }
  }
  runtime::InjectReady(m, std::move(woken), runtime::kBusy);
}

void ReadRing(Ring* r, int64_t timeout_ns, bool sleep, GQueue* out) {
  ServeRequests(r);
  if (sleep) {
    runtime::Bump(r->entered);                                       // as in EnterRing
    r->asleep.Store(true, os::kRelaxed<"ring.asleep">);              // for sysmon
    r->unsubmitted.Store(false, os::kRelaxed<"ring.sleep.submit">);  // for sysmon
    int error = r->uring.EnterAndWait(timeout_ns);
    r->asleep.Store(false, os::kRelaxed<"ring.awake">);  // for sysmon
    // EAGAIN, EBUSY: what is there is reaped, the rest comes with the next enter.
    if (error == -EBADR) r->lost = true;
  } else if (r->uring.HasWork()) {
    EnterRing(r);
  } else {
    return;
  }
  os::UringEvent events[kReapedAtOnce];
  for (;;) {
    unsigned n = r->uring.Reap(events, kReapedAtOnce);
    WarmUp(events, n);
    for (unsigned i = 0; i < n; i++) HandleEvent(r, events[i], out);
    if (n < kReapedAtOnce) break;
  }
  if (r->lost) {
    // The kernel had no memory for a completion: the set reports anew what is ready.
    r->lost = false;
    MoveToShared(r, out);
  }
}

bool TakeFromRing(M* m, Desc* d, bool* own, bool* wake_owner) {
  d->lock.AssertHeld();
  Ring* r = d->ring.Load(os::kRelaxed<"ring.take.look">);  // under the descriptor's lock
  *own = *wake_owner = false;
  if (r == nullptr) return false;
  runtime::LockGuard guard(r->lock);
  UnlinkLocked(r, d);
  if (r->owner == m) {
    *own = true;
    return true;
  }
  *wake_owner = r->closing == nullptr;
  d->ring_next = r->closing;
  r->closing = d;
  r->has_requests.Store(true, os::kRelaxed<"ring.closing.set">);  // pairs with ServeRequests
  return true;
}

bool RemovePollNow(Ring* r, Desc* d, GQueue* out) {
  r->awaited = d->Token();
  while (!r->uring.RemovePoll(r->awaited, kCancelled)) ReadRing(r, 0, false, out);
  for (int i = 0; i < kMostEnters; i++) {
    ReadRing(r, 0, false, out);
    if (r->awaited == 0) return true;
    // Nothing has come: the kernel is let run what it has, which need not show beforehand.
    if (!r->uring.HasWork()) EnterRing(r);
  }
  r->awaited = 0;
  return false;
}

void MoveToShared(Ring* r, GQueue* out) {
  uint64_t moved = 0;
  for (;;) {
    Desc* d = nullptr;
    {
      runtime::LockGuard guard(r->lock);
      d = r->descs;
    }
    if (d == nullptr) break;
    // Its own lock comes before the ring's; it may have been closed, and even opened again in
    // another ring, since.
    runtime::LockGuard guard(d->lock);
    {
      runtime::LockGuard ring_guard(r->lock);
      if (d->ring.Load(os::kRelaxed<"move.check">) != r) continue;  // under both locks
      // An owner that finds the ring empty, and is about to sleep elsewhere, is to find this too.
      r->moved.Store(true, os::kRelaxed<"ring.moved.unlink">);
      UnlinkLocked(r, d);
    }
    if (d->in_shared) continue;
    if (RegisterShared(d) == 0) {
      moved++;
    } else {
      Forget(d, out);
    }
  }
  // For counters.
  runtime::Rt()->netpoll_moved.FetchAdd(moved, os::kRelaxed<"move.counter">);
  if (moved > 0) WatchShared();
}

void CloseRing(Ring* r, GQueue* out) {
  MoveToShared(r, out);
  // Who closed one of them elsewhere unlinked it before, and put it on `closing` with that.
  ServeRequests(r);
  for (os::Atomic<Ring*>& entry : Np()->rings) {
    Ring* own = r;
    // Only its owner closes it; sysmon may look at it a moment longer, its memory stays.
    if (entry.CompareExchange(own, nullptr, os::kRelease<"ring.close.entry">)) break;
  }
  r->open = false;
  r->uring.Close();
  runtime::Rt()->netpoll_rings.FetchSub(1, os::kRelaxed<"ring.close.counter">);  // a counter
}

namespace {

enum class Ruling { kLeave, kLookAgain, kMove };

// Step 4: what sysmon does about one ring.
Ruling Judge(Ring* r, int64_t now) {
  runtime::Runtime* rt = runtime::Rt();
  // Hints, all of them; a move that was not needed is harmless.
  uint32_t entered = r->entered.Load(os::kRelaxed<"watch.entered">);
  bool attended = r->asleep.Load(os::kRelaxed<"watch.asleep">) || entered != r->seen_entered;
  bool away = !r->owner->has_p.Load(os::kRelaxed<"watch.owner">);
  bool waits = r->unsubmitted.Load(os::kRelaxed<"watch.unsubmitted">) ||
               os::IsReady(r->uring.fd(), os::kPollIn);
  r->seen_entered = entered;
  if (attended || (!waits && !away)) {
    r->waiting_since = 0;
    return Ruling::kLeave;
  }
  if (r->waiting_since == 0) r->waiting_since = now;
  int64_t waited = now - r->waiting_since;
  bool others = away || rt->idle_p_count.Load(os::kRelaxed<"watch.idle">) > 0;
  if (waits && others) return waited >= kAttendance_ns ? Ruling::kMove : Ruling::kLookAgain;
  // With one P nobody could do better than its owner.
  bool several = rt->procs.Load(os::kRelaxed<"watch.procs">) > 1;
  return (away || several) && waited >= kAway_ns ? Ruling::kMove : Ruling::kLeave;
}

}  // namespace

bool WatchRings(int64_t now, GQueue* out) {
  Netpoll* np = Np();
  bool look_again = false;
  uint64_t left = runtime::Rt()->netpoll_rings.Load(os::kRelaxed<"watch.count">);  // a hint
  for (int32_t i = 0; i < kMaxRings && left > 0; i++) {
    Ring* r = np->rings[i].Load(os::kAcquire<"watch.ring">);  // pairs with OpenRing
    if (r == nullptr) continue;
    left--;
    if (r->count.Load(os::kRelaxed<"watch.polls">) == 0) continue;
    const Ruling verdict = Judge(r, now);
    look_again |= verdict == Ruling::kLookAgain;
    if (verdict != Ruling::kMove) continue;
    MoveToShared(r, out);
    r->waiting_since = 0;
  }
  return look_again;
}

RingsState LookAtRings() {
  Netpoll* np = Np();
  RingsState state = {false, false};
  uint64_t left = runtime::Rt()->netpoll_rings.Load(os::kRelaxed<"rings.count">);  // a hint
  for (int32_t i = 0; i < kMaxRings && left > 0; i++) {
    Ring* r = np->rings[i].Load(os::kAcquire<"rings.look">);  // pairs with OpenRing
    if (r == nullptr) continue;
    left--;
    // A moment's truth.
    bool asleep = r->asleep.Load(os::kRelaxed<"rings.asleep">);
    state.any_asleep |= asleep;
    state.any_left |= !asleep && r->count.Load(os::kRelaxed<"rings.polls">) > 0;
  }
  return state;
}

}  // namespace weft::netpoll
