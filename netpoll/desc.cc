// Waiting for readiness: a word for each mode, and who may change it.
//
// Actors: the waiter W, a goroutine, one a mode at a time (net/ sees to it); reporters R: Ms that
// reap a ring or the shared set, also while the world is stopped; timers T of the deadlines; the
// closer C.
//   Wait:   1. looks at `flags` for closing and expired, 2. takes a report: word kReady -> kNil;
//           done; 3. registers the descriptor, at the first wait; 4. parks. Once parked, the
//           commit: 5. word kNil -> its G; 6. looks at flags again, and if the wait is over takes
//           the G out: G -> kNil. 5 fails (a report came), or 6 took it out: it is not parked, and
//           goes on from 1. 7. Awake: a report was handed to it: done; else from 1.
//   Report: word kNil -> kReady, which stays: reports do not add up. Or G -> kNil: R tells the G
//           that it has its report (park_result), and readies it.
//   T, C:   set their bit in flags, then word G -> kNil, and ready the G: a wait under way ends,
//           and finds the bit at 1. It was T's: W asks the descriptor itself, as a report can be
//           late: an owner sleeps in its ring, the kernel has woken it, but it gets no CPU.
// Whoever takes a G out of the word, and nobody else, readies it: that holds for the commit too.
// Between 5 and 6 the G may be readied, run on another M, and wait once more with the same word;
// then 6 takes it out of that wait, which ends for nothing: from 1.
// No report is lost: R acts on the word alone, by CAS. No flag is missed: T and C set the flag,
// then (seq_cst) act on the word; the commit sets the word (5), then (seq_cst) reads the flags
// (6). If it does not see the flag at 6, its word is there for T or C to find. A report for
// nothing makes W's caller try in vain: never wrong. A Desc is never unmapped, so that a late 6
// reads another use's flags at worst, and finds another G in the word.
// Edges. Both pollers report changes only, so a caller that got less than it asked for may wait
// without trying again; but an end of stream that came with the last bytes is no change any more.
// So a hang-up is kept (kHungUp): waits in that mode return at once from then on.
//
// Budget (bench/run, echo): a wait that parks is 2 RMW on the word, besides the park's.
#include "netpoll/desc.h"

#include "netpoll/pollers.h"
#include "runtime/fatal.h"
#include "runtime/os/epoll.h"
#include "runtime/sched.h"
#include "weft/park.h"

namespace weft::netpoll {

using runtime::G;
using runtime::GetM;
using runtime::M;

namespace {

constexpr int kModes = 2;

int Index(Mode mode) {
  return static_cast<int>(mode);
}

Result Verdict(uint32_t flags, Mode mode) {
  if ((flags & kClosing) != 0) return Result::kClosing;
  if ((flags & kExpired << Index(mode)) != 0) return Result::kTimeout;
  return Result::kReady;
}

// Acts on a mode's word. `ready`: hands a report over, or leaves it when nobody waits. The
// goroutine to be readied, or null.
G* Unblock(Desc* d, Mode mode, bool ready) {
  os::Atomic<uintptr_t>& word = d->word[Index(mode)];
  // seq_cst: after the flag that it is about; pairs with Wait 6.
  uintptr_t old = word.Load(os::kSeqCst<"desc.unblock.look">);
  for (;;) {
    if (old == kReady || (old == kNil && !ready)) return nullptr;
    // Acquire: what the goroutine published with its park; release: what is reported.
    if (word.CompareExchange(old, old == kNil ? kReady : kNil, os::kAcqRel<"desc.unblock">)) break;
  }
  if (old == kNil) return nullptr;
  G* g = reinterpret_cast<G*>(old);
  g->park_result = ready ? 1 : 0;
  return g;
}

void ReadyOne(G* g) {
  if (g != nullptr) Ready(g);
}

// What the goroutine touches first when it runs: its calls from here up to its handler's frame.
// With many connections they have left the core's own caches since its last message.
constexpr size_t kWarmStack = 704;

void Collect(G* g, runtime::GQueue* out) {
  if (g == nullptr) return;
  if (g->is_thread) {
    Ready(g);
    return;
  }
  runtime::CasGStatus<runtime::Gwaiting, runtime::Grunnable>(g);
  __builtin_prefetch(g->closure);
  for (size_t i = 0; i < kWarmStack; i += 64) __builtin_prefetch(static_cast<char*>(g->sp) + i, 1);
  out->PushBack(g);
}

struct WaitArgs {
  Desc* d;
  Mode mode;
};

// Steps 5 and 6.
bool CommitWait(Goroutine* g, void* p) {
  const WaitArgs args = *static_cast<WaitArgs*>(p);  // gone with the wait, once the word has the G
  os::Atomic<uintptr_t>& word = args.d->word[Index(args.mode)];
  const uintptr_t self = reinterpret_cast<uintptr_t>(g);
  uintptr_t seen = kNil;
  // Release: the parked goroutine. seq_cst with 6.
  if (!word.CompareExchange(seen, self, os::kSeqCst<"desc.park">)) return false;
  // Pairs with Expire and Evict.
  const uint32_t flags = args.d->flags.Load(os::kSeqCst<"desc.park.flags">);
  if (Verdict(flags, args.mode) == Result::kReady) [[likely]]
    return true;
  seen = self;
  // Who put it there was this goroutine, in this wait or a later one.
  return !word.CompareExchange(seen, kNil, os::kRelaxed<"desc.park.back">);
}

void KeepHangUp(Desc* d, uint64_t token, uint32_t mask) {
  if ((mask & os::kPollReadHangUp) == 0) return;
  uint32_t bits = kHungUp << Index(Mode::kRead);
  if ((mask & os::kPollHangUp) != 0) bits |= kHungUp << Index(Mode::kWrite);
  uint32_t flags = d->flags.Load(os::kRelaxed<"desc.hangup.look">);  // for the CAS
  // The reporter may have been away since it read the token: only this use is hung up.
  while (d->TokenOf(flags) == token) {
    // Before the report, which the waiter's CAS on the word orders.
    if (d->flags.CompareExchange(flags, flags | bits, os::kRelaxed<"desc.hangup">)) return;
  }
}

void Expire(Desc* d, Mode mode, uintptr_t seq) {
  {
    runtime::LockGuard guard(d->lock);
    if (d->seq[Index(mode)] != seq) return;  // set anew, or closed, since it fired
    // Before the word is acted on; pairs with Wait 6.
    d->flags.FetchOr(kExpired << Index(mode), os::kSeqCst<"desc.expire">);
  }
  ReadyOne(Unblock(d, mode, false));
}

void ExpireRead(void* d, uintptr_t seq) {
  Expire(static_cast<Desc*>(d), Mode::kRead, seq);
}
void ExpireWrite(void* d, uintptr_t seq) {
  Expire(static_cast<Desc*>(d), Mode::kWrite, seq);
}

// The deadline in force is none any more. The number of the next.
uintptr_t DropDeadline(Desc* d, Mode mode) {
  d->lock.AssertHeld();
  if (d->timers != nullptr) runtime::DeleteTimer(&d->timers[Index(mode)]);
  return ++d->seq[Index(mode)];
}

// Most descriptors never have a deadline, so the timers come with the first.
void AddDeadline(Desc* d, Mode mode, int64_t when, uintptr_t seq) {
  d->lock.AssertHeld();
  if (d->timers == nullptr) {
    void* memory = runtime::Rt()->alloc.Allocate(sizeof(runtime::Timer[kModes]));
    d->timers = new (memory) runtime::Timer[kModes];
  }
  runtime::AddTimer(&d->timers[Index(mode)], when, 0,
                    mode == Mode::kRead ? ExpireRead : ExpireWrite, d, seq);
}

}  // namespace

void Report(Desc* d, uint64_t token, uint32_t mask, runtime::GQueue* out) {
  KeepHangUp(d, token, mask);
  uint32_t both = os::kPollHangUp | os::kPollError;
  if ((mask & (os::kPollIn | os::kPollReadHangUp | both)) != 0) {
    Collect(Unblock(d, Mode::kRead, true), out);
  }
  if ((mask & (os::kPollOut | both)) != 0) Collect(Unblock(d, Mode::kWrite, true), out);
}

void Forget(Desc* d, runtime::GQueue* out) {
  d->lock.AssertHeld();
  d->registered.Store(false, os::kRelaxed<"desc.forget">);  // as in Wait 3
  Collect(Unblock(d, Mode::kRead, true), out);
  Collect(Unblock(d, Mode::kWrite, true), out);
}

int Open(int fd, Kind kind, const void* owner, Desc** out) {
  if (runtime::Rt() == nullptr) runtime::Fatal("netpoll::Open without a runtime");
  Desc* d = AllocateDesc();
  d->fd = fd;
  d->kind = kind;
  d->owner.Store(owner, os::kRelaxed<"desc.open.owner">);  // as the flags
  d->in_shared = d->was_in_ring = d->was_rehomed = false;
  d->away = 0;
  // The descriptor is handed out by whatever hands `d` out.
  const uint32_t closed = d->flags.Load(os::kRelaxed<"desc.open.generation">);  // the opener's own
  // A late report may look at it.
  d->flags.Store(closed & ~(kGeneration - 1), os::kRelaxed<"desc.open.flags">);
  d->registered.Store(false, os::kRelaxed<"desc.open.registered">);
  d->word[0].Store(kReady, os::kRelaxed<"desc.open.read">);
  d->word[1].Store(kReady, os::kRelaxed<"desc.open.write">);
  *out = d;
  return 0;
}

Result Check(const Desc* d, Mode mode) {
  // What follows is the caller's system call; a flag set later is found by its wait.
  return Verdict(d->flags.Load(os::kAcquire<"desc.check">), mode);
}

namespace {

// Chosen: a steal by chance moves nothing, and a move costs as much as two requests.
constexpr uint8_t kAwayLimit = 4;

[[gnu::cold]] bool IsReady(const Desc* d, Mode mode) {
  return os::IsReady(d->fd, mode == Mode::kRead ? os::kPollIn : os::kPollOut);
}

// The reader is about to wait on `m` (ring.cc, 6).
[[gnu::always_inline]] inline void FollowReader(M* m, Desc* d) {
  Ring* r = d->ring.Load(os::kRelaxed<"desc.follow">);  // decided again under the lock
  if (r == nullptr || r == m->ring.Load(os::kRelaxed<"desc.follow.own">)) [[likely]] {
    if (d->away != 0) d->away = 0;
    return;
  }
  if (++d->away < kAwayLimit) return;
  d->away = 0;
  Rehome(m, d, r);
}

}  // namespace

Result Wait(Desc* d, Mode mode, int* error) {
  runtime::Entry entry;
  os::Atomic<uintptr_t>& word = d->word[Index(mode)];
  *error = 0;
  for (bool waited = false;; waited = true) {
    uint32_t flags = d->flags.Load(os::kAcquire<"desc.wait.flags">);  // 1; pairs with their setters
    if (Result verdict = Verdict(flags, mode); verdict != Result::kReady) [[unlikely]] {
      return waited && verdict == Result::kTimeout && IsReady(d, mode) ? Result::kReady : verdict;
    }
    // 2. A look saves the CAS.
    uintptr_t seen = word.Load(os::kRelaxed<"desc.wait.look">);
    // Acquire: pairs with Unblock.
    if (seen == kReady && word.CompareExchange(seen, kNil, os::kAcquire<"desc.wait.take">)) {
      return Result::kReady;
    }
    if ((flags & kHungUp << Index(mode)) != 0) return Result::kReady;
    if (mode == Mode::kRead && entry.m() != nullptr && entry.m()->p != nullptr) {
      FollowReader(entry.m(), d);
    }
    // 3. Written under the descriptor's lock; nothing is read on the strength of it.
    if (!d->registered.Load(os::kRelaxed<"desc.registered">)) {
      *error = Register(d);
      if (*error != 0) return Result::kClosing;
    }
    if (seen != kNil && seen != kReady) [[unlikely]] {
      runtime::Fatal("two goroutines wait to %s descriptor %d at once",
                     mode == Mode::kRead ? "read" : "write", static_cast<int64_t>(d->fd));
    }
    G* self = entry.m() != nullptr ? entry.m()->curg : Current();
    self->park_result = 0;
    WaitArgs args = {d, mode};
    runtime::ParkIn(entry, CommitWait, &args,
                    mode == Mode::kRead ? WaitReason::kIoRead : WaitReason::kIoWrite);
    if (self->park_result != 0) return Result::kReady;  // 7
  }
}

void SetReady(Desc* d, Mode mode) {
  ReadyOne(Unblock(d, mode, true));
}

void SetDeadline(Desc* d, Mode mode, int64_t when) {
  int i = Index(mode);
  bool expired = false;
  {
    runtime::LockGuard guard(d->lock);
    const uintptr_t seq = DropDeadline(d, mode);
    if (when != 0 && when <= runtime::Nanotime()) {
      expired = true;
      // Before the word is acted on; pairs with Wait 6.
      d->flags.FetchOr(kExpired << i, os::kSeqCst<"desc.deadline.past">);
    } else {
      // Who waits already has seen it clear.
      d->flags.FetchAnd(~(kExpired << i), os::kRelaxed<"desc.deadline.clear">);
      if (when != 0) AddDeadline(d, mode, when, seq);
    }
  }
  if (expired) ReadyOne(Unblock(d, mode, false));
}

void Evict(Desc* d) {
  // Before the words are acted on; pairs with Wait 6.
  d->flags.FetchOr(kClosing, os::kSeqCst<"desc.evict">);
  ReadyOne(Unblock(d, Mode::kRead, false));
  ReadyOne(Unblock(d, Mode::kWrite, false));
}

void Close(Desc* d, bool descriptor_lives_on) {
  M* m = GetM();
  if (m != nullptr) m->locks++;
  {
    runtime::LockGuard guard(d->lock);
    DropDeadline(d, Mode::kRead);
    DropDeadline(d, Mode::kWrite);
  }
  Unregister(m, d, descriptor_lives_on);
  if (m != nullptr) m->locks--;
}

}  // namespace weft::netpoll
