// The engine's state, and its inner functions. All that a run touches is in one static object; a
// run begins by setting some counters, nothing is freed or cleared.
#pragma once

#include "tests/model/model.h"

namespace weft::model {

using Vector = Clocks;
inline constexpr int kVectorLanes = 8;
inline constexpr int kMostVectors = 16;
// The first vector is the threads' clocks.
inline constexpr int kMostLocations = (kMostVectors - 1) * kVectorLanes;

// Only the first engine.vectors of a view are in use.
struct View {
  Vector vector[kMostVectors];

  uint16_t& At(int lane) { return reinterpret_cast<uint16_t*>(vector)[kVectorLanes + lane]; }
  uint16_t& Clock(int thread) { return reinterpret_cast<uint16_t*>(vector)[thread]; }
};

struct Message {  // one store
  uint64_t value;
  uint32_t previous;  // the store before it in modification order
  uint16_t place;     // its place there; with gaps, so that a store can come between
  bool rmw;           // nothing may come between it and `previous`
  uint8_t vectors;    // how many of `view` are valid
  View view;          // what an acquire load of it learns
};

struct Lane {        // one location
  const char* name;  // of the site that touched it first
  uint32_t newest;
  bool destroyed;
  const Location* address;
};

enum class State : uint8_t { kReady, kSpins, kOnFutex, kJoins, kDone };

struct Thread {
  View now, acquired, released;
  void* sp;
  void* m;  // what the thread-local words of the runtime hold while it runs
  void* thread_g;
  State state;
  uint8_t id;
  uint8_t futex;  // the lane that it sleeps on
  bool timed_out;
  bool wrote;     // stored something since its round began
  uint8_t reads;  // lanes read in this round of a spin
  uint8_t read[kMostLocations];
  uint16_t read_place[kMostLocations];  // what the first such read returned
  uint32_t read_round[kMostLocations];
  uint32_t round;
  int64_t deadline;  // of a timed sleep; 0: none
  int priority;      // PCT
  const char* name;
  ThreadBody body;
};

struct ChoiceMade {
  uint8_t pick, of;
};

inline constexpr size_t kStackSize = size_t{64} << 10;
inline constexpr uint32_t kMostMessages = 1 << 14;
inline constexpr int kMostChoices = 1 << 15;
inline constexpr uint16_t kGap = 16;

struct Engine {
  // Hot.
  Thread* running;
  uint32_t ready;  // bits: threads that can go on
  uint32_t spins;  // in SpinPause
  uint32_t timed;  // in a sleep that may time out
  uint32_t messages;
  int steps, most_steps;
  int preemptions_left, stale_left;
  int depth, recorded;  // choices made in this run; known in advance
  int lanes, vectors, threads, live;
  bool started, random, trace, spurious;
  bool fresh;  // the running thread was switched to and has done nothing yet
  int64_t clock;
  View seq_cst;  // what seq_cst operations and fences have seen; locations only
  Lane lane[kMostLocations];
  // Cold.
  uint64_t rng;
  int next_change, changes_left, low_priority, run_length, seeded_length;
  void (*body)();
  bool failed;
  char what[512];
  void* driver_sp;
  void* thread_g[kMostThreads];
  Thread thread[kMostThreads];
  ChoiceMade choice[kMostChoices];
  Message message[kMostMessages];
  alignas(64) char stack[kMostThreads][kStackSize];
};
extern Engine engine;

// ---- search.cc ----
uint64_t Random();
int Record(int n, int otherwise);

// ---- fatal.cc ----
// A crash in a run is a failure of that run.
void CatchCrashes();

// ---- schedule.cc ----
// Before each visible operation: another thread may go first.
void Point();
// The running thread cannot go on, or gives way: a switch that costs nothing.
void SwitchAway();
void WakeSpinners(int lane);
void MakeThreadGs();
void PrepareThread(Thread* t, void (*entry)());
[[noreturn]] void ThreadMain();
void Trace(const char* format, ...) __attribute__((format(printf, 1, 2)));
// Sleeps on a location until woken; false: the timeout passed.
bool SleepOn(int lane, int64_t timeout_ns);
int WakeOn(int lane, int count);

// ---- memory.cc ----
void ResetMemory();
// A thread's view at its start, and what its end hands to who waits for it.
void CopyView(View* into, const View& from);
void JoinView(View* into, const View& from, int vectors);
// What the kernel compares a futex with: the newest value. Gives no order.
uint64_t ReadNewest(Location& location);
// A full fence on every thread at once.
void FenceAll();

inline bool InRun() {
  return current_run != 0;
}

}  // namespace weft::model
