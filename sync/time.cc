// Sleeping, timers and tickers: see weft/time.h.
//
// The problem. A timer fires inside the scheduler, on any M, while others stop it, reset it, wait
// for it and drop it. After Stop or Reset nobody may receive a firing from before; and a timer's
// memory must not go while its function may still come.
//
// A firing is a value in a channel of capacity 1. The core's timers (runtime/timer.cc) say when
// they were deleted in time; if not, their function still comes, with the `seq` it was added with.
//   1. Arm, under the timer's lock: counts up seq, adds the core's timer with it; `calls` counts
//      one function to come.
//   2. Fire, on some M, under the lock: seq is another, or nothing is armed: nothing. Else it puts
//      the time into the channel (full: a slow receiver has not taken the tick before: dropped); a
//      ticker arms itself again (1), for the next multiple of its period that is still to come.
//      Last of all, without the lock, it counts itself out of `calls`.
//   3. Stop, under the lock: disarms, deletes the core's timer (deleted: its function will not
//      come, and is counted out), and takes what is in the channel.
//   4. Reset: 3 and 1 under one lock.
//   5. The end: 3, then waits until `calls` is 0.
//
// Why no stale value is received after 3: a value enters the channel only under the lock, from a
// function whose seq is armed. After 3 has let the lock go nothing is armed (or, after 4, only the
// new seq), and the channel was emptied under the same lock. A receiver that was parked in the
// channel got its value at 2, directly, before 3: that is a receive before the Stop. 3 says
// whether it prevented the firing: it was armed still, or its value was in the channel; in either
// case nobody has it.
//
// The lock (rank kTimerOwner) comes before the channel's and the heap's. The channel's values are
// trivially copyable: sending one takes a core lock and no foreign code, so it may be done at 2.
//
// AfterFunc needs none of this: deleting the core's timer is what stops it, and its function, which
// starts a goroutine, owns one of the two references.
#include "weft/time.h"

#include "runtime/fatal.h"
#include "runtime/os/clock.h"
#include "sync/core.h"
#include "sync/waiter.h"
#include "weft/go.h"
#include "weft/select.h"

namespace weft {

namespace internal {

static_assert(Element<absl::Time>::kTrivial);

// [l] under `lock`
struct TimerState {
  runtime::Lock lock{runtime::LockRank::kTimerOwner};
  os::Plain<bool> armed = false;        // [l] it is to fire
  os::Plain<int64_t> when = INT64_MAX;  // [l] Nanotime; INT64_MAX: never, and not in the heap
  os::Plain<int64_t> period = 0;        // [l] 0: fires once
  os::Plain<uintptr_t> seq = 0;         // [l] of the latest Arm
  runtime::Timer timer;                 // in the heap: armed
  sync::CallCount calls;                // functions that are to come or running
  Chan<absl::Time> fired{1};

  static void Fire(void* arg, uintptr_t seq);
  void Arm(int64_t at);  // [l] 1
  bool Disarm();         // [l] 3
  void FireLocked();     // [l] 2
  bool Restart(absl::Duration first, absl::Duration every);
};

void TimerState::Arm(int64_t at) {
  armed = true;
  when = at;
  seq++;
  if (at == INT64_MAX) return;
  calls.Begin();
  runtime::AddTimer(&timer, at, 0, Fire, this, seq);
}

bool TimerState::Disarm() {
  const bool was_armed = std::exchange(armed, false);
  if (was_armed && runtime::DeleteTimer(&timer)) calls.End();
  return fired.TryReceive().has_value() || was_armed;
}

void TimerState::FireLocked() {
  armed = false;
  // False: the receiver is slow, the tick is dropped.
  static_cast<void>(fired.TrySend(absl::FromUnixNanos(os::UnixNanos())));
  if (period == 0) return;
  const int64_t late = runtime::Nanotime() - when;
  const int64_t periods = late < 0 ? 1 : 1 + late / period;
  Arm(periods > (INT64_MAX - when) / period ? INT64_MAX : when + periods * period);
}

void TimerState::Fire(void* arg, uintptr_t seq) {
  TimerState* s = static_cast<TimerState*>(arg);
  {
    sync::Guard guard(s->lock);
    if (s->armed && s->seq == seq) s->FireLocked();
  }
  s->calls.End();
}

bool TimerState::Restart(absl::Duration first, absl::Duration every) {
  const int64_t at = sync::WhenAfter(absl::ToInt64Nanoseconds(first));
  sync::Guard guard(lock);
  const bool prevented = Disarm();
  period = absl::ToInt64Nanoseconds(every);
  Arm(at);
  return prevented;
}

TimerHandle::TimerHandle(absl::Duration first, absl::Duration period) : state_(new TimerState) {
  state_->Restart(first, period);
}

TimerHandle::~TimerHandle() {
  if (state_ == nullptr) return;
  {
    sync::Guard guard(state_->lock);
    state_->Disarm();
  }
  state_->calls.Drain(WaitReason::kSleep);
  delete state_;
}

// One reference is the handle's, one the armed timer's: it goes to the goroutine when it fires.
struct FuncTimerState {
  os::Atomic<uint32_t> refs{2};
  bool never = false;  // its time is out of reach: there is no timer and no reference of it
  runtime::Timer timer;
  absl::AnyInvocable<void() &&> fn;

  static void Unref(FuncTimerState* s) {
    // Release and acquire: the last one destroys what the other has used.
    if (s->refs.FetchSub(1, os::kAcqRel<"functimer.unref">) == 1) delete s;
  }
  static void Fire(void* arg, uintptr_t) {
    FuncTimerState* s = static_cast<FuncTimerState*>(arg);
    Go([s] {
      std::move(s->fn)();
      Unref(s);
    });
  }
};

}  // namespace internal

namespace {

absl::StatusOr<absl::Time> WaitForFiring(Chan<absl::Time>& fired, const Context& ctx) {
  std::optional<absl::Time> when;
  if (ctx.IsDone() || Select(fired.OnReceive(&when), ctx.OnDone()) != 0) return ctx.status();
  return *when;
}

absl::Duration CheckPeriod(absl::Duration period) {
  if (period <= absl::ZeroDuration()) {
    runtime::Fatal("a weft::Ticker's period must be positive, not %d ns",
                   absl::ToInt64Nanoseconds(period));
  }
  return period;
}

}  // namespace

void Sleep(absl::Duration d) {
  if (d <= absl::ZeroDuration()) return;
  const int64_t ns = absl::ToInt64Nanoseconds(d);
  // For ever: without a timer, so that it does not hide a deadlock.
  if (ns == INT64_MAX) return Park(nullptr, nullptr, WaitReason::kSleep);
  runtime::SleepNs(ns);
}

absl::Status Sleep(absl::Duration d, const Context& ctx) {
  struct Watch : ContextCallback {
    Watch()
        : ContextCallback(
              [](ContextCallback* self) { static_cast<Watch*>(self)->waiter.Wake(1); }) {}
    sync::Waiter waiter;
  } watch;
  if (d <= absl::ZeroDuration() || !ctx.AddCallback(&watch)) return ctx.status();
  sync::Waiter::Reason reason = 0;
  {
    sync::WakeTimer timer(watch.waiter, 2, sync::WhenAfter(absl::ToInt64Nanoseconds(d)));
    reason = watch.waiter.Wait(WaitReason::kSleep);
  }
  watch.Remove();
  return reason == 1 ? ctx.status() : absl::OkStatus();
}

void SleepUntil(absl::Time when) {
  Sleep(when - absl::FromUnixNanos(os::UnixNanos()));
}

Timer::Timer(absl::Duration d) : TimerHandle(d, absl::ZeroDuration()) {}

bool Timer::Stop() {
  sync::Guard guard(state_->lock);
  return state_->Disarm();
}

bool Timer::Reset(absl::Duration d) {
  return state_->Restart(d, absl::ZeroDuration());
}

absl::Time Timer::Wait() {
  return *state_->fired.Receive();
}

absl::StatusOr<absl::Time> Timer::Wait(const Context& ctx) {
  return WaitForFiring(state_->fired, ctx);
}

std::optional<absl::Time> Timer::TryWait() {
  return state_->fired.TryReceive();
}

Chan<absl::Time>::ReceiveCase Timer::OnFire(std::optional<absl::Time>* fired) {
  return state_->fired.OnReceive(fired);
}

Ticker::Ticker(absl::Duration period) : TimerHandle(CheckPeriod(period), period) {}

void Ticker::Stop() {
  sync::Guard guard(state_->lock);
  state_->Disarm();
}

void Ticker::Reset(absl::Duration period) {
  state_->Restart(CheckPeriod(period), period);
}

absl::Time Ticker::Wait() {
  return *state_->fired.Receive();
}

absl::StatusOr<absl::Time> Ticker::Wait(const Context& ctx) {
  return WaitForFiring(state_->fired, ctx);
}

std::optional<absl::Time> Ticker::TryWait() {
  return state_->fired.TryReceive();
}

Chan<absl::Time>::ReceiveCase Ticker::OnTick(std::optional<absl::Time>* tick) {
  return state_->fired.OnReceive(tick);
}

FuncTimer AfterFunc(absl::Duration d, absl::AnyInvocable<void() &&> fn) {
  internal::FuncTimerState* s = new internal::FuncTimerState;
  s->fn = std::move(fn);
  const int64_t when = sync::WhenAfter(absl::ToInt64Nanoseconds(d));
  if (when == INT64_MAX) {
    s->never = true;
    internal::FuncTimerState::Unref(s);
  } else {
    runtime::AddTimer(&s->timer, when, 0, internal::FuncTimerState::Fire, s, 0);
  }
  return FuncTimer(s);
}

FuncTimer::~FuncTimer() {
  if (state_ != nullptr) internal::FuncTimerState::Unref(state_);
}

bool FuncTimer::Stop() {
  if (state_ == nullptr) return false;
  if (std::exchange(state_->never, false)) return true;
  if (!runtime::DeleteTimer(&state_->timer)) return false;
  internal::FuncTimerState::Unref(state_);
  return true;
}

}  // namespace weft
