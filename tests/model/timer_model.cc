// Timers: adding, deleting, stopping and resetting against firing.
#include "runtime/sched.h"
#include "runtime/timer.h"
#include "tests/model/model.h"
#include "tests/model/world.h"
#include "weft/time.h"

namespace weft::model {
namespace {

constexpr int64_t kFarAhead = int64_t{1} << 60;
constexpr absl::Duration kPeriod = absl::Hours(10);

// What an M does at its tick.
void FireDue(int64_t now) {
  runtime::RunTimers(runtime::Rt()->all_ps[0], now);
}

// Deleted in time: its function does not come, and its memory may go. Else it has come or comes.
MODEL(timer_delete_against_fire) {
  BareRuntime bare;
  struct World {
    runtime::Timer timer;
    os::Plain<int> fired = 0;
    os::Atomic<int> over{0};
  };
  alignas(World) static char room[sizeof(World)];
  World* w = new (room) World;
  runtime::AddTimer(
      &w->timer, 1, 0,
      [](void* arg, uintptr_t) {
        World* world = static_cast<World*>(arg);
        world->fired = world->fired + 1;
        world->over.Store(1, os::kRelease<"test.over">);
      },
      w, 0);
  Spawn("firer", [] { FireDue(kFarAhead); });
  Spawn("deleter", [w] {
    if (!runtime::DeleteTimer(&w->timer)) {
      while (w->over.Load(os::kAcquire<"test.over.look">) == 0) SpinPause();
      Check(w->fired == 1, "fired once");
    } else {
      Check(w->fired == 0, "not fired");
    }
    w->~World();
  });
  Join();
}

// Two Ms look through the same heap.
MODEL(timer_two_firers) {
  BareRuntime bare;
  struct {
    runtime::Timer timer[2];
    os::Atomic<int> fired{0};
  } w;
  for (int i = 0; i < 2; i++) {
    runtime::AddTimer(
        &w.timer[i], 1 + i, 0,
        [](void* arg, uintptr_t) {
          static_cast<os::Atomic<int>*>(arg)->FetchAdd(1, os::kRelaxed<"test.fired">);
        },
        &w.fired, 0);
  }
  Spawn("firer1", [] { FireDue(kFarAhead); });
  Spawn("firer2", [] { FireDue(kFarAhead); });
  Join();
  Check(w.fired.Load(os::kRelaxed<"test.fired.look">) == 2, "each fires once");
}

// Nothing is received after Stop; what it prevented was not received before.
MODEL(timer_stop_against_fire) {
  BareRuntime bare;
  Timer timer(absl::Nanoseconds(1));
  Spawn("firer", [] { FireDue(kFarAhead); });
  Spawn("stopper", [&timer] {
    Check(timer.Stop(), "nobody has received it");
    Check(!timer.TryWait().has_value(), "no stale value");
  });
  Join();
  Check(!timer.TryWait().has_value(), "no stale value");
}

// Reset to a time that does not come: the value of the time before is not received any more.
MODEL(timer_reset_against_fire) {
  BareRuntime bare;
  Timer timer(absl::Nanoseconds(1));
  Spawn("firer", [] { FireDue(int64_t{10'000'000'000}); });
  Spawn("resetter", [&timer] {
    Check(timer.Reset(absl::Hours(1000)), "nobody has received it");
    Check(!timer.TryWait().has_value(), "no stale value");
  });
  Join();
  Check(!timer.TryWait().has_value(), "no stale value");
  FireDue(kFarAhead);
  Check(timer.TryWait().has_value(), "the new time is in force");
}

// Either the receiver has it, or Stop has prevented it.
MODEL(timer_stop_against_receive) {
  BareRuntime bare;
  Timer timer(absl::Nanoseconds(1));
  os::Plain<bool> received = false;
  os::Plain<bool> prevented = false;
  Spawn("firer", [] { FireDue(kFarAhead); });
  Spawn("receiver", [&] { received = timer.TryWait().has_value(); });
  Spawn("stopper", [&] { prevented = timer.Stop(); });
  Join();
  Check(received != prevented, "one of the two");
}

// Its end waits for the function that is running.
MODEL(timer_end_against_fire) {
  BareRuntime bare;
  Spawn("owner", [] { const Timer timer(absl::Nanoseconds(1)); });
  Spawn("firer", [] { FireDue(kFarAhead); });
  Join();
}

MODEL(timer_ticker_stop) {
  BareRuntime bare;
  Ticker ticker(kPeriod);
  Spawn("firer", [] { FireDue(absl::ToInt64Nanoseconds(kPeriod) * 3 / 2); });
  Spawn("stopper", [&ticker] {
    ticker.Stop();
    Check(!ticker.TryWait().has_value(), "no stale tick");
  });
  Join();
  Check(!ticker.TryWait().has_value(), "no stale tick");
}

}  // namespace
}  // namespace weft::model
