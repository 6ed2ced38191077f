// Time that the machine kept from the process: what a scheduler's lateness is excused by.
//
//   - Run delays: how long the kernel kept threads that wanted to run off the CPUs (schedstat).
//   - Stolen time: how long a CPU stood still, since a hypervisor gave it to another guest. The
//     kernel does not count that as anybody's delay. A witness on each CPU sleeps for a moment at
//     real-time priority, again and again, and counts how much later than asked it wakes. Where the
//     kernel refuses the priority nothing counts as stolen.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"

namespace stress {

class Withheld {
 public:
  struct Mark {
    std::map<std::string, int64_t> delays_ns;  // by thread
    int64_t stolen_ns = 0;
  };
  struct Time {
    absl::Duration delayed;  // all threads together: one may have waited for another
    absl::Duration stolen;   // all CPUs together
  };

  Withheld();
  ~Withheld();
  Withheld(const Withheld&) = delete;
  Withheld& operator=(const Withheld&) = delete;

  // Both from any thread.
  Mark Now() const;
  // A thread that still waits, and a CPU that still stands still, are counted when they go on.
  Time Since(const Mark& mark) const;

 private:
  void Witness(int cpu);

  std::atomic<bool> ended_{false};
  std::atomic<int64_t> stolen_ns_{0};
  std::vector<std::thread> witnesses_;
};

}  // namespace stress
