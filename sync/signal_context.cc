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
//   2. A context: it is linked, group[] is computed anew (for each signal, all signals of the
//      contexts that name it), handlers are installed where there was none, or where a signal
//      has taken it away (3).
//   3. The handler counts itself in `handlers`, gives the default action back to the signal's whole
//      group, notes the signal in `pending`, raises the event, counts itself out.
//   4. The watcher takes `pending`, and a handle of each context that names one of these signals;
//      then, without the mutex, it cancels them.
//   5. A context's end: unlinks it; signals that no context names any more get the action back
//      that they had. The last one: event_fd = -1, and the watcher is told to end and waited for
//      (it may be the watcher itself that drops the last handle: it ends by itself).
//   6. The watcher ends: it waits until no handler is inside that may have read the old event_fd,
//      then closes the descriptor.
//
// A signal between 2's link and a later step is not lost: pending stays until a watcher looks, and
// 1 comes before 2. Between 5 and 6: the handler stores into `handlers` before it loads event_fd,
// the dropper stores -1 before 6 loads `handlers`; both are seq_cst: if 6 reads 0, the handler
// that comes later reads -1 (or a newer event).
//
// Signals are the process's, not a runtime's: this state is global.
#include "weft/signal_context.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "netpoll/netpoll.h"
#include "runtime/fatal.h"
#include "runtime/os/signal.h"
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
  int fd = -1;
  netpoll::Desc* desc = nullptr;
  uint64_t goroutine = 0;           // [r] under `mutex`
  sync::Waiter* dropper = nullptr;  // [r]
};

struct SignalState : ContextState {
  explicit SignalState(SignalSet set);
  const SignalSet signals;
  SignalState* next = nullptr;  // [r] under `mutex`
};

// What the handler reads.
os::Atomic<int> event_fd{-1};
os::Atomic<SignalSet> group[os::kMaxSignal + 1];
os::Atomic<SignalSet> pending{0};
os::Atomic<SignalSet> defaulted{0};  // signals that the handler has given up
os::Atomic<uint32_t> handlers{0};

// [r] under `mutex`
constinit Mutex mutex;
SignalState* states WEFT_GUARDED_BY(mutex) = nullptr;
Watcher* watcher WEFT_GUARDED_BY(mutex) = nullptr;
SignalSet caught WEFT_GUARDED_BY(mutex) = 0;
os::SignalAction previous[os::kMaxSignal + 1] WEFT_GUARDED_BY(mutex);

// Step 3. Only what is signal-safe.
void OnSignal(int signal) {
  handlers.FetchAdd(1, os::kSeqCst<"signal.enter">);
  // Written before the handler was installed, by a system call.
  const SignalSet set = group[signal].Load(os::kRelaxed<"signal.group">);
  defaulted.FetchOr(set, os::kRelaxed<"signal.defaulted">);
  for (int s = 1; s <= os::kMaxSignal; s++) {
    if ((set & Bit(s)) != 0) os::DefaultSignal(s);
  }
  // The event orders it: a write before a read, in the kernel.
  pending.FetchOr(Bit(signal), os::kRelease<"signal.pending">);
  const int fd = event_fd.Load(os::kSeqCst<"signal.event">);
  if (fd >= 0) os::RaiseEvent(fd);
  // Release: the use of `fd` comes before its closing.
  handlers.FetchSub(1, os::kRelease<"signal.leave">);
}

absl::Status Cause(int signal) {
  const char* name = os::SignalName(signal);
  absl::Status cause = absl::CancelledError(
      name != nullptr ? absl::StrCat("received ", name) : absl::StrCat("received signal ", signal));
  cause.SetPayload(kPayload, absl::Cord(absl::StrCat(signal)));
  return cause;
}

// A handle of `s`, unless its last one is gone.
bool TryRef(ContextState* s) {
  uint32_t refs = s->refs.Load(os::kRelaxed<"signal.refs">);
  do {
    if (refs == 0) return false;
    // Nothing to order: it is linked, and its end waits for the mutex.
  } while (!s->refs.CompareExchange(refs, refs + 1, os::kRelaxed<"signal.ref">));
  return true;
}

// Makes a handle of a counted reference that the caller has.
class Handle : public Context {
 public:
  explicit Handle(ContextState* s) : Context(s) {}
};

// Step 4.
void CancelPending(SignalSet signals) {
  std::vector<Handle> told;
  {
    MutexLock lock(mutex);
    for (SignalState* s = states; s != nullptr; s = s->next) {
      if ((s->signals & signals) != 0 && TryRef(s)) told.emplace_back(s);
    }
  }
  for (const Handle& handle : told) {
    SignalState* s = static_cast<SignalState*>(internal::StateOf(handle));
    const int signal = 1 + __builtin_ctzll(s->signals & signals);
    ContextState::Cancel(s, ContextState::kCancelled, Cause(signal));
  }
}

// Step 6.
void EndWatcher(Watcher* w) {
  while (handlers.Load(os::kSeqCst<"signal.drain">) != 0) Yield();
  netpoll::Close(w->desc);
  os::CloseEvent(w->fd);
  sync::Waiter* dropper = w->dropper;
  delete w;
  if (dropper != nullptr) dropper->Wake(1);
}

void Watch(Watcher* w) {
  {
    MutexLock lock(mutex);
    w->goroutine = GoroutineId();
  }
  for (;;) {
    int error = 0;
    const netpoll::Result result = netpoll::Wait(w->desc, netpoll::Mode::kRead, &error);
    if (result == netpoll::Result::kClosing) {
      if (error != 0)
        runtime::Fatal("SignalContext: the kernel does not watch an event: errno %d",
                       int64_t{-error});
      break;
    }
    if (!os::ClearEvent(w->fd)) continue;
    const SignalSet signals = pending.Exchange(0, os::kAcquire<"signal.take">);
    if (signals != 0) CancelPending(signals);
  }
  {
    // Whoever has told it to end has left the mutex, and `dropper` is set.
    MutexLock lock(mutex);
  }
  EndWatcher(w);
}

// Step 1.
void StartWatcher() WEFT_REQUIRES(mutex) {
  watcher = new Watcher;
  watcher->fd = os::MakeEvent();
  if (watcher->fd < 0) runtime::Fatal("SignalContext: no event: errno %d", int64_t{-watcher->fd});
  // kListener: to be seen by every M, also while the one that waited first computes.
  const int error = netpoll::Open(watcher->fd, netpoll::Kind::kListener, &watcher->desc);
  if (error != 0) runtime::Fatal("SignalContext: netpoll::Open: errno %d", int64_t{-error});
  // What handlers noted after the last watcher had ended concerns nobody any more.
  pending.Store(0, os::kRelaxed<"signal.fresh">);
  Go([w = watcher] { Watch(w); });
  event_fd.Store(watcher->fd, os::kSeqCst<"signal.start">);
}

// Step 2's group[].
void ComputeGroups() WEFT_REQUIRES(mutex) {
  for (int signal = 1; signal <= os::kMaxSignal; signal++) {
    SignalSet set = 0;
    for (SignalState* s = states; s != nullptr; s = s->next) {
      if ((s->signals & Bit(signal)) != 0) set |= s->signals;
    }
    group[signal].Store(set, os::kRelaxed<"signal.set_group">);  // see signal.group
  }
}

// Step 2.
void Register(SignalState* s) {
  MutexLock lock(mutex);
  if (states == nullptr) StartWatcher();
  s->next = states;
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

// Step 5.
void Unregister(SignalState* s) {
  sync::Waiter ended;
  {
    MutexLock lock(mutex);
    SignalState** at = &states;
    while (*at != s) at = &(*at)->next;
    *at = s->next;
    ComputeGroups();
    for (int signal = 1; signal <= os::kMaxSignal; signal++) {
      if ((caught & Bit(signal)) == 0 || group[signal].Load(os::kRelaxed<"signal.left">) != 0) {
        continue;
      }
      os::RestoreSignal(signal, previous[signal]);
      caught &= ~Bit(signal);
      defaulted.FetchAnd(~Bit(signal), os::kRelaxed<"signal.restored">);
    }
    if (states != nullptr) return;
    event_fd.Store(-1, os::kSeqCst<"signal.stop">);
    Watcher* w = std::exchange(watcher, nullptr);
    const bool own = w->goroutine != 0 && w->goroutine == GoroutineId();
    if (!own) w->dropper = &ended;
    netpoll::Evict(w->desc);
    if (own) return;
  }
  ended.Wait(WaitReason::kContextDone);
}

SignalState::SignalState(SignalSet set)
    : ContextState([](ContextState* state) {
        SignalState* s = static_cast<SignalState*>(state);
        Unregister(s);
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
