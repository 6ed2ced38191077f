// The scheduler under churn: trees of goroutines that yield, block their thread and bind to it,
// while the number of Ps goes up and down.
//
// What must hold: every goroutine of a tree runs exactly once; one that is locked to its thread
// stays there; and a runnable goroutine and an idle P do not coexist for more than 1 ms. The last
// is watched by a thread of the harness's own, with probes: it starts a goroutine, reads the
// number of idle Ps until the goroutine runs, and takes the longest time during which there was
// an idle P in every reading.
//
// What the scheduler cannot help is subtracted (withheld.h): threads which have work to do were
// kept off the CPUs, or the CPUs stood still. On a busy machine little is left to be found; run it
// on an idle one.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "stress/harness.h"
#include "stress/withheld.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/runtime.h"
#include "weft/select.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace {

using stress::Harness;
using stress::Random;
using stress::Require;

constexpr int kMaxProcs = 100;
constexpr int kRepeats = 20;
constexpr int kDepth = 5;
constexpr int kFanOut = 4;
constexpr absl::Duration kCoexist = absl::Milliseconds(1);
constexpr absl::Duration kDelayCounted = absl::Milliseconds(20);
constexpr absl::Duration kLookEvery = absl::Microseconds(50);

// Outlives every round.
stress::Withheld& Machine() {
  static stress::Withheld withheld;
  return withheld;
}

// One probe; see the head of the file. From a plain thread the goroutine comes through the global
// queue, from a goroutine through its P's own.
void Probe() {
  const stress::Withheld::Mark start = Machine().Now();
  std::atomic<bool> ran{false};
  absl::Time idle_since = absl::InfiniteFuture();
  absl::Duration longest = absl::ZeroDuration();
  weft::RuntimeStats then{};
  weft::Go([&ran] { ran = true; });
  while (!ran) {
    const weft::RuntimeStats stats = weft::Stats();
    const absl::Time now = absl::Now();
    if (ran) break;
    const bool idle = stats.idle_procs > 0;
    idle_since = idle ? std::min(idle_since, now) : absl::InfiniteFuture();
    if (now - idle_since > longest) {
      longest = now - idle_since;
      then = stats;
    }
    // All are busy: leave them the CPU. On a goroutine this is a call that blocks, and gives its
    // own P to the one that waits. Else look again a little later: Stats takes the scheduler's
    // lock, which the Ms that come for the goroutine need.
    if (!idle) weft::Blocking([] { usleep(20); });
    while (!ran && absl::Now() - now < kLookEvery) {
    }
  }
  if (longest <= kCoexist) return;
  // What still goes on is counted when it is over.
  weft::Blocking([] { absl::SleepFor(kDelayCounted); });
  const stress::Withheld::Time withheld = Machine().Since(start);
  if (longest - withheld.delayed - withheld.stolen > kCoexist) {
    stress::Fail(absl::StrCat(
        "a runnable goroutine waited ", absl::FormatDuration(longest), " beside ", then.idle_procs,
        " idle Ps of ", then.procs, ", ", then.running_procs, " running, ", then.syscall_procs,
        " in calls, ", then.idle_threads, " idle Ms of ", then.threads, "; started by a ",
        weft::GoroutineId() == 0 ? "thread" : "goroutine", "; the kernel kept threads waiting for ",
        absl::FormatDuration(withheld.delayed), ", CPUs stood still for ",
        absl::FormatDuration(withheld.stolen)));
  }
}

// Probes from a thread of its own while it exists.
class IdleWatch {
 public:
  IdleWatch() : thread_([this] { Watch(); }) {}
  ~IdleWatch() {
    ended_ = true;
    weft::Blocking([this] { thread_.join(); });
  }

 private:
  void Watch() {
    while (!ended_) {
      Probe();
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  std::atomic<bool> ended_{false};
  std::thread thread_;
};

void Misbehave(Random& random) {
  switch (random.Below(16)) {
    case 0:
      weft::Blocking([&random] { usleep(static_cast<useconds_t>(random.Below(200))); });
      break;
    case 1: {
      weft::LockOSThread();
      const pid_t thread = gettid();
      for (uint64_t i = random.Below(5); i > 0; i--) weft::Yield();
      weft::Sleep(absl::Microseconds(random.Below(100)));
      Require(gettid() == thread, "a locked goroutine stays on its thread");
      weft::UnlockOSThread();
      break;
    }
    case 2:
      weft::Sleep(absl::Microseconds(random.Below(300)));
      break;
    default:
      for (uint64_t i = random.Below(4); i > 0; i--) weft::Yield();
  }
}

// The shape of a tree comes from its seed alone, so that its size is known beforehand.
constexpr uint64_t kFullest = 0;  // the seed of the tree that has every child that it can have

struct Shape {
  explicit Shape(int depth, uint64_t seed) : random(seed), fullest(seed == kFullest) {
    if (depth == 0) return;
    children = fullest ? kFanOut : static_cast<int>(random.Below(kFanOut + 1));
  }
  uint64_t NextChild() { return fullest ? kFullest : 1 + random.Below(uint64_t{1} << 62); }

  Random random;
  bool fullest;
  int children = 0;
};

int ExpectedSize(int depth, uint64_t seed) {
  Shape shape(depth, seed);
  int size = 1;
  for (int i = 0; i < shape.children; i++) size += ExpectedSize(depth - 1, shape.NextChild());
  return size;
}

// Sends the number of goroutines of this tree: itself and all below, which it starts.
void Tree(int depth, uint64_t seed, weft::Chan<int> result) {
  Random random(~seed);
  Misbehave(random);
  Shape shape(depth, seed);
  weft::Chan<int> sizes(random.Below(2) * kFanOut);
  for (int i = 0; i < shape.children; i++) {
    weft::Go([depth, child = shape.NextChild(), sizes] { Tree(depth - 1, child, sizes); });
  }
  int size = 1;
  for (int i = 0; i < shape.children; i++) size += *sizes.Receive();
  stress::Progress();
  Require(result.Send(std::move(size)), "the parent's channel is open");
}

// Ps go up and down until `stop` is closed; at the end there are `procs`.
void ChangeProcs(int procs, Random random, weft::Chan<int> stop) {
  std::optional<int> got;
  while (weft::Select(stop.OnReceive(&got), weft::After(absl::Milliseconds(5))) != 0) {
    weft::MaxProcs(static_cast<int>(1 + random.Below(kMaxProcs)));
    Probe();
  }
  weft::MaxProcs(procs);
}

void Round(Harness& harness) {
  Random random = harness.NewRandom();
  weft::Chan<int> stop;
  weft::WaitGroup changer;
  changer.Go([&harness, stop, changes = harness.NewRandom()] {
    ChangeProcs(harness.procs(), changes, stop);
  });
  {
    IdleWatch watch;
    for (int i = 0; i < kRepeats; i++) {
      // The fullest first: else the most goroutines at once, and with them the stacks that were
      // ever touched, would grow with the logarithm of the time.
      const uint64_t seed = i == 0 ? kFullest : 1 + random.Below(uint64_t{1} << 62);
      weft::Chan<int> size;
      weft::Go([seed, size] { Tree(kDepth, seed, size); });
      Require(size.Receive() == ExpectedSize(kDepth, seed), "every goroutine of a tree runs once");
    }
  }
  stop.Close();
  changer.Wait();
}

}  // namespace

int main(int argc, char** argv) {
  return stress::Run(argc, argv, Round);
}
