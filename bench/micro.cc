// micro: weft's side of the micro table, under the names that the peers print.
//
//   micro [--seconds S] [NAME...]   one sample of each row, or of those named
//   micro --park N                  starts N goroutines that park
//
// One P. Each row does what bench/peers/gobench.go does under that name; the last are weft's own.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "paths.h"
#include "runtime/sched.h"
#include "runtime/suspend.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/mutex.h"
#include "weft/runtime.h"
#include "weft/select.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace {

void Buffered(int64_t n) {
  weft::Chan<int64_t> channel(128);
  weft::Go([channel, n]() mutable {
    for (int64_t i = 0; i < n; i++) {
      if (!channel.Send(i)) return;
    }
    channel.Close();
  });
  while (channel.Receive()) {
  }
}

// Two goroutines, each selecting over two channels of which one is used.
void SelectTwo(int64_t n) {
  weft::Chan<int64_t> used;
  weft::Chan<int64_t> idle_in;
  weft::Chan<int64_t> idle_out;
  weft::Go([used, idle_out, n]() mutable {
    for (int64_t i = 0; i < n; i++) {
      int64_t value = i;
      weft::Select(used.OnSend(&value), idle_out.OnSend(&value));
    }
    used.Close();
  });
  std::optional<int64_t> in;
  for (int64_t i = 0; i < n; i++) {
    weft::Select(used.OnReceive(&in), idle_in.OnReceive(&in));
    if (!in) return;
  }
}

void Uncontended(int64_t n) {
  weft::Mutex mutex;
  for (int64_t i = 0; i < n; i++) {
    mutex.Lock();
    mutex.Unlock();
  }
}

void Contended(int64_t n) {
  weft::Mutex mutex;
  weft::WaitGroup group;
  int64_t x = 0;
  for (int g = 0; g < 8; g++) {
    group.Go([&, n] {
      for (int64_t i = 0; i < n / 8; i++) {
        weft::MutexLock lock(mutex);
        x++;
      }
    });
  }
  group.Wait();
}

void Sleep(int64_t n) {
  weft::WaitGroup group;
  for (int g = 0; g < 1000; g++) {
    group.Go([n] {
      for (int64_t i = 0; i < n / 1000; i++) weft::Sleep(absl::Microseconds(1));
    });
  }
  group.Wait();
}

// SuspendG and ResumeG of a goroutine that is parked.
void Suspend(int64_t n) {
  weft::Chan<bool> done;
  weft::runtime::G* parked = nullptr;
  weft::Go([&parked, done]() mutable {
    parked = weft::runtime::GetM()->curg;
    (void)done.Receive();
  });
  while (parked == nullptr) weft::Yield();
  struct Call {
    weft::runtime::G* g;
    int64_t n;
  } call{parked, n};
  {
    weft::runtime::Entry entry;
    weft::runtime::AsWaiting(
        entry.m(), weft::WaitReason::kSuspend,
        [](weft::runtime::M* m, void* arg) {
          const Call& c = *static_cast<Call*>(arg);
          for (int64_t i = 0; i < c.n; i++) {
            weft::runtime::ResumeG(m, weft::runtime::SuspendG(m, c.g));
          }
        },
        &call);
  }
  done.Close();
  weft::Yield();
}

struct Row {
  const char* name;
  void (*work)(int64_t n);
};

constexpr Row kRows[] = {
    {"yield(2 goroutines)", paths::Yield},
    {"spawn+exit", paths::Spawn},
    {"chan pingpong (roundtrip)", paths::PingPong},
    {"chan buffered 128 spsc", Buffered},
    {"select 2 (pingpong)", SelectTwo},
    {"mutex uncontended", Uncontended},
    {"mutex contended 8g", Contended},
    {"timer sleep 1us x1000g", Sleep},
    {"suspend+resume parked", Suspend},
};

// Runs the row with a growing count until it takes `seconds`, as Go's testing package does.
void Measure(const Row& row, double seconds) {
  for (int64_t n = 1000;;) {
    int64_t begin = absl::GetCurrentTimeNanos();
    row.work(n);
    double ns = static_cast<double>(absl::GetCurrentTimeNanos() - begin);
    if (ns >= seconds * 1e9) {
      std::printf("%-28s %10.1f ns/op\n", row.name, ns / static_cast<double>(n));
      std::fflush(stdout);
      return;
    }
    double growth = ns > 0 ? std::clamp(seconds * 1.2e9 / ns, 1.1, 100.0) : 100;
    n = static_cast<int64_t>(static_cast<double>(n) * growth) + 1;
  }
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0;
  int64_t resident = 0;
  file >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// Starts n goroutines that tell that they run, then wait on a channel; `ns/op` is until all wait.
void Park(int64_t n) {
  int64_t before = ResidentBytes();
  weft::Chan<bool> gate;
  weft::WaitGroup up;
  weft::WaitGroup done;
  up.Add(static_cast<int>(n));
  done.Add(static_cast<int>(n));
  int64_t begin = absl::GetCurrentTimeNanos();
  for (int64_t i = 0; i < n; i++) {
    weft::Go([&] {
      up.Done();
      (void)gate.Receive();
      done.Done();
    });
  }
  up.Wait();
  double count = static_cast<double>(n);
  double each = static_cast<double>(absl::GetCurrentTimeNanos() - begin) / count;
  std::printf("%-28s %10.1f ns/op\n", "start and park", each);
  std::printf("%-28s %10.0f B\n", "parked goroutine",
              static_cast<double>(ResidentBytes() - before) / count);
  gate.Close();
  done.Wait();
}

struct Options {
  double seconds = 0.3;
  int64_t park = 0;
  std::vector<std::string> names;
};

bool Parse(int argc, char** argv, Options* options) {
  for (int i = 1; i < argc; i++) {
    std::string argument = argv[i];
    if (argument == "--seconds" || argument == "--park") {
      if (++i == argc) return false;
      bool ok = argument == "--park" ? absl::SimpleAtoi(argv[i], &options->park)
                                     : absl::SimpleAtod(argv[i], &options->seconds);
      if (!ok) return false;
    } else if (argument.starts_with("--")) {
      return false;
    } else {
      options->names.push_back(std::move(argument));
    }
  }
  return true;
}

bool Wanted(const Options& options, const char* name) {
  const std::vector<std::string>& names = options.names;
  return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!Parse(argc, argv, &options)) {
    std::fprintf(stderr, "usage: micro [--seconds S] [NAME...] | micro --park N\n");
    return 2;
  }
  weft::RuntimeOptions runtime;
  runtime.max_procs = 1;
  return weft::Main(runtime, [&options] {
    if (options.park > 0) {
      Park(options.park);
      return;
    }
    for (const Row& row : kRows) {
      if (Wanted(options, row.name)) Measure(row, options.seconds);
    }
  });
}
