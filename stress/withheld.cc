#include "stress/withheld.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <chrono>
#include <fstream>

#include "absl/time/time.h"
#include "stress/harness.h"

namespace stress {

namespace {

constexpr absl::Duration kNap = absl::Microseconds(200);
// Waking takes so long on a CPU that is there.
constexpr absl::Duration kUsual = absl::Microseconds(100);

std::map<std::string, int64_t> RunDelays() {
  std::map<std::string, int64_t> delays;
  DIR* dir = opendir("/proc/self/task");
  Require(dir != nullptr, "cannot open /proc/self/task");
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] == '.') continue;
    std::ifstream file(std::string("/proc/self/task/") + entry->d_name + "/schedstat");
    int64_t ran = 0;
    int64_t waited = 0;
    if (file >> ran >> waited) delays[entry->d_name] = waited;
  }
  closedir(dir);
  return delays;
}

}  // namespace

Withheld::Withheld() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  Require(sched_getaffinity(0, sizeof(cpus), &cpus) == 0, "cannot read the CPU affinity");
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &cpus)) witnesses_.emplace_back([this, cpu] { Witness(cpu); });
  }
}

Withheld::~Withheld() {
  ended_ = true;
  for (std::thread& witness : witnesses_) witness.join();
}

void Withheld::Witness(int cpu) {
  cpu_set_t own;
  CPU_ZERO(&own);
  CPU_SET(cpu, &own);
  const sched_param lowest = {.sched_priority = 1};
  if (pthread_setaffinity_np(pthread_self(), sizeof(own), &own) != 0) return;
  if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &lowest) != 0) return;
  const timespec nap = absl::ToTimespec(kNap);
  while (!ended_) {
    const auto before = std::chrono::steady_clock::now();
    clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, nullptr);
    const absl::Duration napped = absl::FromChrono(std::chrono::steady_clock::now() - before);
    const absl::Duration late = napped - kNap;
    if (late > kUsual) stolen_ns_ += absl::ToInt64Nanoseconds(late);
  }
}

Withheld::Mark Withheld::Now() const {
  return {.delays_ns = RunDelays(), .stolen_ns = stolen_ns_};
}

Withheld::Time Withheld::Since(const Mark& mark) const {
  int64_t delayed = 0;
  for (const auto& [thread, waited] : RunDelays()) {
    const auto known = mark.delays_ns.find(thread);
    delayed += waited - (known == mark.delays_ns.end() ? 0 : known->second);
  }
  return {.delayed = absl::Nanoseconds(delayed),
          .stolen = absl::Nanoseconds(stolen_ns_ - mark.stolen_ns)};
}

}  // namespace stress
