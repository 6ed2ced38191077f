// The engine's state, and its inner functions. All that a run touches is in one static object; a
// run begins by setting some counters, nothing is freed or cleared.
#pragma once

#include "tests/model/merge.h"
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
  uint64_t hash;      // its writer's, then
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
  Users users;
  uint64_t identity;  // whatever its number in this run
};

enum class State : uint8_t { kReady, kSpins, kOnFutex, kJoins, kDone };

struct Thread {
  View now;
  View unfenced;    // what an acquire fence would add to it
  View released;    // what it was at the last release fence
  uint64_t hash;    // of its history; see merge.h
  uint64_t chosen;  // what that was when it was last chosen, but at a Point
  uint32_t makes;
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
  const char* name;
  ThreadBody body;
};

enum class Kind : uint8_t { kThread, kNext, kGiveWay, kRead, kPlace, kWoken, kHarness };

struct ChoiceMade {
  uint8_t pick, of;
  // For who replays it.
  Kind kind;
  uint8_t thread;  // whose step it is
  uint8_t means;   // the thread that was picked, or `pick`
  int step;
};

inline constexpr size_t kStackSize = size_t{64} << 10;
inline constexpr uint32_t kMostMessages = 1 << 14;
inline constexpr int kMostChoices = 1 << 15;
inline constexpr uint16_t kGap = 16;

inline constexpr int kMostClears = 4;

struct Engine {
  // Hot.
  Thread* running;
  uint32_t ready;  // bits: threads that can go on
  uint32_t spins;  // in SpinPause
  uint32_t timed;  // in a sleep that may time out
  uint32_t done;
  int priority[kMostThreads];  // PCT
  uint32_t messages;
  int steps, most_steps;
  int preemptions_left, stale_left;
  int depth, recorded;  // choices made in this run; known in advance
  int lanes, vectors, threads, live;
  bool started, random, trace, spurious, one_budget, unbounded;
  bool merges;   // this run looks for states seen before
  bool known;    // it has come to one
  bool rest;     // LeaveTheRest was called
  bool endless;  // it was left after most_steps: without bounds a thread can be kept for ever
  bool replays;  // the choices are given; all locations count as shared
  bool learnt;   // a location is shared that was not thought to be: the run is void
  uint64_t order_hash;  // of all modification orders
  uint64_t seq_cst_hash;
  uint64_t kernel_hash;  // of the fake kernel's history
  int64_t clock;
  View seq_cst;  // what seq_cst operations and fences have seen; locations only
  Lane lane[kMostLocations];
  // Cold.
  uint64_t rng;
  int next_change, changes_left, low_priority, run_length;
  int replayed;  // choices given
  void (*body)();
  bool failed;
  int clears;
  void (*clear[kMostClears])();
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
// In a random run; 0 in the others.
int RandomBelow(int n);
// One of n; `means`: what each stands for in a replay, null: itself.
int Record(Kind kind, int n, int otherwise, const uint8_t* means);

// The run ends where it stands.
[[noreturn]] void LeaveRun();

// ---- heap.cc ----
// What a run allocates is gone with it.
void ResetHeap();

// ---- fatal.cc ----
// A crash in a run is a failure of that run.
void CatchCrashes();

// ---- schedule.cc ----
// Before each visible operation: another thread may go first.
void Point();
// One of what the bounds allow is used.
void SpendPreemption();
void SpendStale();
// Counts a step; too many are a livelock.
void Step();
// The state before a choice of this kind.
uint64_t StateNow(Kind kind);
// The running thread cannot go on, or gives way: a switch that costs nothing.
void SwitchAway();
void WakeSpinners(int lane);
void MakeThreadGs();
void PrepareThread(Thread* t, void (*entry)());
[[noreturn]] void ThreadMain();
// The running thread has used something that the threads share and the model does not see.
void MixShared(uint64_t* history);
void Trace(const char* format, ...) __attribute__((format(printf, 1, 2)));
// Sleeps on a location until woken; false: the timeout passed.
bool SleepOn(int lane, int64_t timeout_ns);
int WakeOn(int lane, int count);

// ---- memory.cc ----
void ResetMemory();
// The lane of a location on which threads sleep.
int LaneOf(Location& location);
// What the kernel compares a futex with: the newest value. Gives no order.
uint64_t ReadNewest(Location& location);
// ---- fence.cc ----
// A full fence on every thread at once.
void FenceAll();

// The running thread has learnt `what`.
inline void Mix(uint64_t what) {
  engine.running->hash = Mixed(engine.running->hash, what);
}

inline bool InRun() {
  return current_run != 0;
}

}  // namespace weft::model
