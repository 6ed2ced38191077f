// What the stress harnesses share: flags, the clock, a watchdog and the verdict.
//
// A harness is a function that makes one round of trouble and ends with nothing left over. Run
// repeats it inside a runtime until --seconds have passed, then compares: goroutines, open
// descriptors and (for runs of two minutes and more) resident memory must be what they were
// after the first minute, memory within 10 %.
//
//     int main(int argc, char** argv) { return stress::Run(argc, argv, Round); }
#pragma once

#include <cstdint>
#include <string>

namespace stress {

// A generator of random numbers in one word (splitmix64): each goroutine has its own.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  // Below `bound`, which is not 0.
  uint64_t Below(uint64_t bound) {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) % bound;
  }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

 private:
  uint64_t state_;
};

class Harness {
 public:
  Harness(int procs, uint64_t seed) : procs_(procs), seed_(seed) {}

  int procs() const { return procs_; }
  // Another generator with each call; repeatable by --seed, as far as schedules are.
  Random NewRandom() { return Random(seed_++ * 0x2545f4914f6cdd1d); }

 private:
  int procs_;
  uint64_t seed_;  // used by the round's own goroutine alone
};

int Run(int argc, char** argv, void (*round)(Harness& harness));

// Says that something went on, to the watchdog, which takes 30 s of silence for a hang. Any
// thread.
void Progress(uint64_t operations = 1);

// A violated invariant: prints it with every goroutine, and aborts.
[[noreturn]] void Fail(const std::string& what);
inline void Require(bool holds, const char* what) {
  if (!holds) Fail(what);
}

}  // namespace stress
