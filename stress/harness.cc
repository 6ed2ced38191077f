#include "stress/harness.h"

#include <dirent.h>
#include <malloc.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "weft/go.h"
#include "weft/runtime.h"

ABSL_FLAG(int, seconds, 10, "how long to run");
ABSL_FLAG(std::string, netpoll, "", "io_uring or epoll; empty: weft's choice");
ABSL_FLAG(int, procs, 0, "Ps; 0: weft's choice");
ABSL_FLAG(uint64_t, seed, 0, "of the random numbers; 0: from the clock");

namespace stress {
namespace {

constexpr absl::Duration kSilence = absl::Seconds(30);
constexpr absl::Duration kSettle = absl::Seconds(10);
constexpr absl::Duration kBaseline = absl::Minutes(1);
constexpr double kGrowth = 1.10;

std::atomic<uint64_t> operations{0};

struct Footprint {
  uint64_t rss_kib = 0;
  int goroutines = 0;
  int descriptors = 0;
};

uint64_t RssKib() {
  std::ifstream file("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) / 1024;
}

int OpenDescriptors() {
  int count = 0;
  DIR* dir = opendir("/proc/self/fd");
  Require(dir != nullptr, "cannot open /proc/self/fd");
  while (readdir(dir) != nullptr) count++;
  closedir(dir);
  return count - 3;  // ".", "..", and the one that lists
}

// A goroutine that has said that it is done needs a moment to end.
void AwaitGoroutines(int wanted) {
  const absl::Time until = absl::Now() + kSettle;
  while (weft::Stats().goroutines != wanted) {
    if (absl::Now() > until) Fail("goroutines are left");
    weft::Yield();
  }
}

Footprint Measure() {
  return {RssKib(), weft::Stats().goroutines, OpenDescriptors()};
}

void Print(const char* when, const Footprint& now) {
  std::printf("%s: RSS %lu KiB, %d goroutines, %d descriptors, %lu operations\n", when,
              static_cast<unsigned long>(now.rss_kib), now.goroutines, now.descriptors,
              static_cast<unsigned long>(operations.load()));
  std::fflush(stdout);
}

// Ends the process when nothing goes on.
class Watchdog {
 public:
  Watchdog() : thread_([this] { Watch(); }) {}
  ~Watchdog() {
    ended_ = true;
    weft::Blocking([this] { thread_.join(); });
  }

 private:
  void Watch() {
    uint64_t seen = operations.load();
    absl::Time moved = absl::Now();
    while (!ended_) {
      absl::SleepFor(absl::Milliseconds(100));
      if (const uint64_t now = operations.load(); now != seen) {
        seen = now;
        moved = absl::Now();
      } else if (absl::Now() - moved > kSilence) {
        Fail("nothing went on for " + absl::FormatDuration(kSilence));
      }
    }
  }

  std::atomic<bool> ended_{false};
  std::thread thread_;
};

// What the run leaves, against what was there after the first minute (in a short run: after the
// first round).
void Compare(const Footprint& before, const Footprint& after, bool compare_memory) {
  // An M makes its ring when it first needs one: idle rings are no leak, unbounded growth is.
  const auto rings = static_cast<int>(weft::Stats().netpoll_rings);
  if (after.descriptors > before.descriptors + rings) Fail("descriptors are left");
  if (compare_memory &&
      static_cast<double>(after.rss_kib) > kGrowth * static_cast<double>(before.rss_kib)) {
    Fail("resident memory grew by more than 10 %");
  }
}

void Repeat(Harness& harness, void (*round)(Harness&), absl::Duration length) {
  std::printf("%s, %d Ps, %s\n", weft::NetpollName().c_str(), harness.procs(),
              absl::FormatDuration(length).c_str());
  const absl::Time began = absl::Now();
  const bool long_run = length >= 2 * kBaseline;
  const absl::Duration baseline_at = long_run ? kBaseline : absl::ZeroDuration();
  Footprint baseline;
  bool have_baseline = false;
  do {
    const int goroutines = weft::Stats().goroutines;
    round(harness);
    AwaitGoroutines(goroutines);
    Progress();
    if (!have_baseline && absl::Now() - began >= baseline_at) {
      have_baseline = true;
      baseline = Measure();
      Print(long_run ? "minute one" : "first round", baseline);
    }
  } while (absl::Now() - began < length);
  const Footprint end = Measure();
  Print("end", end);
  Compare(baseline, end, long_run);
}

}  // namespace

void Progress(uint64_t count) {
  operations.fetch_add(count, std::memory_order_relaxed);
}

void Fail(const std::string& what) {
  std::fprintf(stderr, "stress: %s\n", what.c_str());
  weft::DumpGoroutines(STDERR_FILENO);
  std::abort();
}

int Run(int argc, char** argv, void (*round)(Harness& harness)) {
  absl::SetProgramUsageMessage("makes trouble for a while; ends non-zero when something broke");
  absl::ParseCommandLine(argc, argv);
  // What one thread frees and another allocated stays in the other's arena: with many, memory grows
  // for as long as goroutines change threads, and says nothing of what the program holds.
  mallopt(M_ARENA_MAX, 1);
  uint64_t seed = absl::GetFlag(FLAGS_seed);
  if (seed == 0) seed = static_cast<uint64_t>(absl::ToUnixNanos(absl::Now()));
  const std::string netpoll = absl::GetFlag(FLAGS_netpoll);
  std::printf("--seed %lu, ", static_cast<unsigned long>(seed));
  weft::RuntimeOptions options;
  options.max_procs = absl::GetFlag(FLAGS_procs);
  options.netpoll = netpoll;
  return weft::Main(options, [&] {
    Watchdog watchdog;
    Harness harness(weft::MaxProcs(0), seed);
    Repeat(harness, round, absl::Seconds(absl::GetFlag(FLAGS_seconds)));
  });
}

}  // namespace stress
