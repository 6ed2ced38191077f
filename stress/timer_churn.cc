// Timers under churn: sleeps, timers that are stopped and reset while they fire, tickers and
// functions, on all Ps at once.
//
// What must hold: nothing fires early; a stopped or reset timer's old firing is never received;
// Stop and the firing agree on who was first; a function runs exactly once unless Stop says that
// it will not; ticks are multiples of the period apart.
#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "stress/harness.h"
#include "weft/go.h"
#include "weft/select.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace {

using stress::Harness;
using stress::Random;
using stress::Require;

constexpr int kGoroutines = 64;
constexpr int kStepsEach = 50;

// The monotonic clock: steps of the wall clock are no early firing.
absl::Duration Monotonic() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::DurationFromTimespec(now);
}

absl::Duration Short(Random& random) {
  return absl::Microseconds(static_cast<int64_t>(random.Below(3)) *
                            static_cast<int64_t>(random.Below(1000)));
}

void Sleeper(Random random) {
  for (int i = 0; i < kStepsEach; i++) {
    const absl::Duration wanted = Short(random);
    const absl::Duration began = Monotonic();
    weft::Sleep(wanted);
    Require(Monotonic() - began >= wanted, "a sleep does not end early");
    stress::Progress();
  }
}

// One timer, reset and stopped at random moments: what it says must fit what was received.
void Resetter(Random random) {
  weft::Timer timer(Short(random));
  bool armed = true;  // set, and its firing not received
  absl::Duration due = absl::ZeroDuration();
  for (int i = 0; i < kStepsEach; i++) {
    switch (random.Below(4)) {
      case 0: {
        Require(timer.Stop() == armed, "Stop says whether the firing is still to be received");
        armed = false;
        break;
      }
      case 1: {
        const absl::Duration next = Short(random);
        due = Monotonic() + next;
        Require(timer.Reset(next) == armed, "Reset says whether there was a firing to receive");
        armed = true;
        break;
      }
      case 2:
        if (timer.TryWait().has_value()) {
          Require(armed, "a stopped or received timer has nothing to receive");
          Require(Monotonic() >= due, "a firing from before Reset is not received");
          armed = false;
        }
        break;
      default: {
        std::optional<absl::Time> fired;
        if (weft::Select(timer.OnFire(&fired), weft::After(Short(random))) == 0) {
          Require(armed && fired.has_value(), "only a set timer fires");
          Require(Monotonic() >= due, "a reset timer does not fire early");
          armed = false;
        }
      }
    }
    stress::Progress();
  }
}

void Ticks(Random random) {
  const absl::Duration period = absl::Microseconds(200 + static_cast<int64_t>(random.Below(1000)));
  const absl::Duration began = Monotonic();
  weft::Ticker ticker(period);
  for (int i = 1; i <= kStepsEach / 5; i++) {
    ticker.Wait();
    Require(Monotonic() - began >= i * period, "the n-th tick comes after n periods");
    stress::Progress();
  }
}

void Functions(Random random) {
  // Shared: a function may run after this goroutine has ended.
  const auto ran = std::make_shared<std::atomic<int>>(0);
  int expected = 0;
  weft::WaitGroup started;
  for (int i = 0; i < kStepsEach; i++) {
    started.Add(1);
    weft::FuncTimer timer = weft::AfterFunc(Short(random), [ran, &started] {
      (*ran)++;
      started.Done();
    });
    if (random.OneIn(2)) weft::Sleep(Short(random));
    if (random.OneIn(2) && timer.Stop()) {
      started.Done();
    } else {
      expected++;
    }
    stress::Progress();
  }
  started.Wait();
  Require(*ran == expected, "a function runs once, or Stop says that it will not");
}

void Round(Harness& harness) {
  weft::WaitGroup group;
  for (int i = 0; i < kGoroutines; i++) {
    for (void (*actor)(Random) : {Sleeper, Resetter, Ticks, Functions}) {
      group.Go([actor, own = harness.NewRandom()] { actor(own); });
    }
  }
  group.Wait();
}

}  // namespace

int main(int argc, char** argv) {
  return stress::Run(argc, argv, Round);
}
