// Two ways to the same verdict with fewer schedules.
//
// 1. Another may go first only before a step that conflicts with one of another thread: a store to
// what others use, a load of what others write. Locations without any such step keep their value
// beside the memory model. Who uses what shows in the runs. A run that finds a new user is void,
// and the search begins anew with what is known now; it is over when no run found any.
//
// 2. States that several schedules reach are explored once.
//
// Two schedules that differ only in the order of steps which do not touch each other lead to the
// same state; what follows is the same. So each state has a fingerprint, and a run that comes to
// one that was seen with as much of the bounds left takes no other choice from there on.
//
// A fingerprint is the run's partial order, not its memory. Each thread has a hash of its history:
// it takes in the hash of each message that the thread reads, each choice that it makes, and that
// it gave way; a message's hash is its writer's at that time. So a thread's hash stands for all
// that came before it, and with it for its stack and for all plain fields that it may touch (that
// nothing unordered touches them is checked by itself). What is left is added: modification orders,
// the order S, the clock, who sleeps. What the model does not see and threads share all the same
// (the fake kernel, a harness's own count) is told by Mix: os.cc, kernel.cc, Known<T>.
//
// A history does not tell whether its thread has got to its next step yet, which it does when it is
// chosen. So that is no difference: who is chosen goes on with a step, whatever it is; whom it
// could be left for at once, those that are ready and those whose timeouts may pass, is in the
// choice that it comes from.
//
// Hashes have 64 bits: with 10^7 states and 10^8 looks the chance that any was taken for another is
// 1 in 20,000.
#pragma once

#include <cstdint>

#include "tests/model/model.h"

namespace weft::model {

inline uint64_t Mixed(uint64_t a, uint64_t b) {
  const uint64_t z = (a ^ (b + 0x9e3779b97f4a7c15 + (a << 6))) * 0xbf58476d1ce4e5b9;
  return z ^ z >> 29;
}

// A search begins: no state was seen.
void ForgetStates();
// A choice is due, with so much of the bounds left. True: it was, with as much, in an earlier run.
bool SeenBefore(uint64_t state, int preemptions_left, int stale_left);

// ---- Shared locations, by their identity ----
void ForgetShared();
// None: it is not known to be shared.
Users UsersOf(uint64_t identity);
void AddUsers(uint64_t identity, Users users);

}  // namespace weft::model
