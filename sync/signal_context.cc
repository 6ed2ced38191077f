// SignalContext: see weft/signal_context.h.
//
// The problem. A signal arrives on any thread between any two instructions, and there almost
// nothing may be done; a context is cancelled by calling callbacks. And when the contexts are gone,
// no handler may be left that uses what they had.
//
// Actors: makers and droppers of contexts, under `mutex`; the handler, anywhere; the watcher, a
// goroutine that exists while contexts do. Their descriptor is an eventfd, which the watcher waits
// for in the netpoller: so the program counts as one that can be woken.
//   1. The first context: an event and a watcher are made; event_fd tells the handler.
//   2. A context: it is linked, group_of[] is computed anew (for each signal, all signals of the
//      contexts that name it), handlers are installed where there was none, or where a signal
//      has taken it away (3).
//   3. The handler counts itself in `handlers`, gives the default action back to the signal's whole
//      group_of[], notes the signal in `pending`, raises the event, counts itself out.
//   4. The watcher takes `pending`. Each context that names one of these signals, and was there
//      when it began, becomes `cancelling` for as long as the watcher, without the mutex, cancels
//      it.
//   5. A context's end: unlinks it, so that 4 does not come to it any more, and waits if it is
//      `cancelling`; group_of[] is computed anew. Signals that no context names any more: once no
//      handler is inside that may have read the old group_of[], they get the action back that they
//      had. The last context: event_fd = -1, and the watcher is told to end and waited for.
//   6. The watcher ends: once no handler is inside that may have read the old event_fd, it closes
//      the descriptor.
//
// A signal after 2's link is not lost: pending stays until a watcher looks, and 1 comes before 2.
// Waiting for handlers (5, 6): the handler counts itself in before it loads group_of[] and
// event_fd; 5 stores these before it loads `handlers`; all four are seq_cst: when 0 is read,
// handlers that come later read the new values.
//
// Signals are the process's, not a runtime's: this state is global.
#include "weft/signal_context.h"

#include <errno.h>

#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "netpoll/netpoll.h"
#include "runtime/fatal.h"
#include "runtime/os/epoll.h"
#include "runtime/os/signal.h"
#include "runtime/sched.h"
#include "sync/context_state.h"
#include "sync/waiter.h"
#include "weft/go.h"
#include "weft/mutex.h"

namespace weft {

namespace {

using internal::ContextState;
using SignalSet = uint64_t;  // bit s - 1: signal s

constexpr char kPayload[] = "weft/signal";

SignalSet Bit(int signal) {
  return SignalSet{1} << (signal - 1);
}

struct Watcher {
  const uint32_t runtime = runtime::RuntimeSerial();  // whose goroutine it is
  int fd = -1;
  netpoll::Desc* desc = nullptr;
  sync::Waiter* dropper = nullptr;  // [r] under `mutex`
};

struct SignalState : ContextState {
  explicit SignalState(SignalSet set);
  const SignalSet signals;
  SignalState* next = nullptr;  // [r] under `mutex`
  uint64_t round = 0;           // [r] the last one in which it was told, or made
};

// What the handler reads.
os::Atomic<int> event_fd{-1};
os::Atomic<SignalSet> group_of[os::kMaxSignal + 1];
os::Atomic<SignalSet> pending{0};
os::Atomic<SignalSet> defaulted{0};  // signals that the handler has given up
os::Atomic<uint32_t> handlers{0};

// [r] under `mutex`
constinit Mutex mutex;
SignalState* states WEFT_GUARDED_BY(mutex) = nullptr;
Watcher* watcher WEFT_GUARDED_BY(mutex) = nullptr;
SignalState* cancelling WEFT_GUARDED_BY(mutex) = nullptr;
sync::Waiter* canceller_waiter WEFT_GUARDED_BY(mutex) = nullptr;  // for its end
uint64_t rounds WEFT_GUARDED_BY(mutex) = 0;
SignalSet caught WEFT_GUARDED_BY(mutex) = 0;
os::SignalAction previous[os::kMaxSignal + 1] WEFT_GUARDED_BY(mutex);

// Step 3. Only what is signal-safe.
void OnSignal(int signal) {
  const int saved_errno = errno;
  handlers.FetchAdd(1, os::kSeqCst<"signal.enter">);
  const SignalSet set = group_of[signal].Load(os::kSeqCst<"signal.group">);
  defaulted.FetchOr(set, os::kRelaxed<"signal.defaulted">);
  for (int s = 1; s <= os::kMaxSignal; s++) {
    if ((set & Bit(s)) != 0) os::DefaultSignal(s);
  }
  // The event orders it: a write before a read, in the kernel.
  pending.FetchOr(Bit(signal), os::kRelease<"signal.pending">);
  const int fd = event_fd.Load(os::kSeqCst<"signal.event">);
  if (fd >= 0) os::SignalEvent(fd);
  // Release: the use of `fd` comes before its closing.
  handlers.FetchSub(1, os::kRelease<"signal.leave">);
  errno = saved_errno;
}

absl::Status Cause(int signal) {
  const char* name = os::SignalName(signal);
  absl::Status cause = absl::CancelledError(
      name != nullptr ? absl::StrCat("received ", name) : absl::StrCat("received signal ", signal));
  cause.SetPayload(kPayload, absl::Cord(absl::StrCat(signal)));
  return cause;
}

// Makes a handle of a counted reference that the caller has.
class Handle : public Context {
 public:
  explicit Handle(ContextState* s) : Context(s) {}
};

// Step 4.
void CancelPending(SignalSet signals) {
  mutex.Lock();
  const uint64_t round = ++rounds;
  for (;;) {
    SignalState* s = states;
    while (s != nullptr && ((s->signals & signals) == 0 || s->round == round)) s = s->next;
    if (s == nullptr) break;
    s->round = round;
    cancelling = s;
    mutex.Unlock();
    const int signal = 1 + __builtin_ctzll(s->signals & signals);
    ContextState::Cancel(s, ContextState::kCancelled, Cause(signal));
    mutex.Lock();
    cancelling = nullptr;
    if (sync::Waiter* waiter = std::exchange(canceller_waiter, nullptr)) waiter->Wake(1);
  }
  mutex.Unlock();
}

// Waits for the handlers that may have read something from before.
void DrainHandlers() {
  while (handlers.Load(os::kSeqCst<"signal.drain">) != 0) Yield();
}

// Step 6.
void EndWatcher(Watcher* w) {
  DrainHandlers();
  netpoll::Close(w->desc);
  os::CloseDescriptor(w->fd);
  sync::Waiter* dropper = nullptr;
  {
    MutexLock lock(mutex);
    dropper = w->dropper;
  }
  delete w;
  dropper->Wake(1);
}

void Watch(Watcher* w) {
  for (;;) {
    int error = 0;
    const netpoll::Result result = netpoll::Wait(w->desc, netpoll::Mode::kRead, &error);
    if (result == netpoll::Result::kClosing) {
      if (error != 0)
        runtime::Fatal("SignalContext: the kernel does not watch an event: errno %d",
                       int64_t{-error});
      break;
    }
    os::DrainEvent(w->fd);
    const SignalSet signals = pending.Exchange(0, os::kAcquire<"signal.take">);
    if (signals != 0) CancelPending(signals);
  }
  EndWatcher(w);
}

// The watcher's runtime has ended, and its goroutine with it: only the event is left.
void DropDeadWatcher() WEFT_REQUIRES(mutex) {
  event_fd.Store(-1, os::kSeqCst<"signal.dead">);
  DrainHandlers();
  os::CloseDescriptor(watcher->fd);
  delete std::exchange(watcher, nullptr);
}

// Step 1.
void StartWatcher() WEFT_REQUIRES(mutex) {
  watcher = new Watcher;
  watcher->fd = os::OpenEvent();
  if (watcher->fd < 0) runtime::Fatal("SignalContext: no event: errno %d", int64_t{-watcher->fd});
  // kShared: to be seen by every M, also while the one that waited first computes.
  const int error = netpoll::Open(watcher->fd, netpoll::Kind::kShared, watcher, &watcher->desc);
  if (error != 0) runtime::Fatal("SignalContext: netpoll::Open: errno %d", int64_t{-error});
  // What handlers noted after the last watcher had ended concerns nobody any more.
  pending.Store(0, os::kRelaxed<"signal.fresh">);
  Go([w = watcher] { Watch(w); });
  event_fd.Store(watcher->fd, os::kSeqCst<"signal.start">);
}

// Step 2's group_of[].
void ComputeGroups() WEFT_REQUIRES(mutex) {
  for (int signal = 1; signal <= os::kMaxSignal; signal++) {
    SignalSet set = 0;
    for (SignalState* s = states; s != nullptr; s = s->next) {
      if ((s->signals & Bit(signal)) != 0) set |= s->signals;
    }
    group_of[signal].Store(set, os::kSeqCst<"signal.set_group">);
  }
}

// Step 2.
void Register(SignalState* s) {
  MutexLock lock(mutex);
  if (watcher != nullptr && watcher->runtime != runtime::RuntimeSerial()) DropDeadWatcher();
  if (watcher == nullptr) StartWatcher();
  s->next = states;
  s->round = rounds;
  states = s;
  ComputeGroups();
  for (int signal = 1; signal <= os::kMaxSignal; signal++) {
    if ((s->signals & Bit(signal)) == 0) continue;
    const bool first = (caught & Bit(signal)) == 0;
    // Relaxed: a handler that runs just now wins or loses; the next signal decides.
    const SignalSet given_up = defaulted.FetchAnd(~Bit(signal), os::kRelaxed<"signal.again">);
    if (!first && (given_up & Bit(signal)) == 0) continue;
    const int error = os::CatchSignal(signal, OnSignal, first ? &previous[signal] : nullptr);
    if (error != 0) runtime::Fatal("SignalContext: signal %d cannot be caught", int64_t{signal});
    caught |= Bit(signal);
  }
}

// Step 5, its first half.
void Unlink(SignalState* s) {
  sync::Waiter cancelled;
  bool wait = false;
  {
    MutexLock lock(mutex);
    SignalState** at = &states;
    while (*at != s) at = &(*at)->next;
    *at = s->next;
    ComputeGroups();
    wait = cancelling == s;
    if (wait) canceller_waiter = &cancelled;
  }
  if (wait) cancelled.Wait(WaitReason::kContextDone);
}

// Step 5, its second half: what no context needs any more.
void GiveBack() {
  sync::Waiter ended;
  {
    MutexLock lock(mutex);
    bool drained = false;
    for (int signal = 1; signal <= os::kMaxSignal; signal++) {
      // Written under the mutex.
      const bool used = group_of[signal].Load(os::kRelaxed<"signal.left">) != 0;
      if (used || (caught & Bit(signal)) == 0) continue;
      if (!std::exchange(drained, true)) DrainHandlers();
      os::RestoreSignal(signal, previous[signal]);
      caught &= ~Bit(signal);
      defaulted.FetchAnd(~Bit(signal), os::kRelaxed<"signal.restored">);  // for the next Register
    }
    if (states != nullptr || watcher == nullptr) return;
    if (watcher->runtime != runtime::RuntimeSerial()) return DropDeadWatcher();
    event_fd.Store(-1, os::kSeqCst<"signal.stop">);
    watcher->dropper = &ended;
    netpoll::Evict(watcher->desc);
    watcher = nullptr;
  }
  ended.Wait(WaitReason::kContextDone);
}

SignalState::SignalState(SignalSet set)
    : ContextState([](ContextState* state) {
        SignalState* s = static_cast<SignalState*>(state);
        Unlink(s);
        GiveBack();
        delete s;
      }),
      signals(set) {}

}  // namespace

Context SignalContext(std::initializer_list<int> signals, const Context& parent) {
  SignalSet set = 0;
  for (int signal : signals) {
    if (signal < 1 || signal > os::kMaxSignal) {
      runtime::Fatal("SignalContext: there is no signal %d", int64_t{signal});
    }
    set |= Bit(signal);
  }
  SignalState* s = new SignalState(set);
  Register(s);
  ContextState::Attach(s, parent);
  return Handle(s);
}

int SignalOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  int signal = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &signal)) return 0;
  return signal;
}

}  // namespace weft
