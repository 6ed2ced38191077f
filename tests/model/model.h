// The explorer: runs the runtime's own protocol code under every schedule.
//
// A run executes a few logical threads on ONE OS thread and switches between them at operations
// that others can see (the seam's atomics, futexes, fences). Every decision (who runs, which store
// a load returns, whom a wake wakes, which timeout passes) is a small integer from one function,
// Choose; so a run is the list of its choices, and searching, random testing and replay differ
// only in who answers.
//
// The memory model is made of views. A view has a lane for each thread's clock (what happened
// before: for plain fields) and one for each location (the oldest store that the owner may still
// read). A thread has three: `now`; `unfenced`, what an acquire fence would add; `released`, what
// its relaxed stores publish (`now` at its last release fence). A store carries a view; an acquire
// load joins it, lane by lane. The order S of seq_cst operations is the order of execution. So is
// modification order, except that a store may take an earlier place, which its thread's view
// allows. Not covered: load buffering (a load that returns a store made later); weak
// compare-exchange.
//
// A harness:
//
//     MODEL(note_hands_over) {
//       struct World { Note note; os::Plain<int> payload = 0; } w;
//       model::Spawn("sleeper", [&w] { w.note.Sleep(); model::Check(w.payload == 1, "payload"); });
//       model::Spawn("waker", [&w] { w.payload = 1; w.note.Wakeup(); });
//       model::Join();
//     }
//
// Its body runs once for each schedule, so that what it makes is fresh.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "tests/model/site.h"
#include "weft/internal/atomic.h"

namespace weft::model {

inline constexpr int kMostThreads = 8;

// ---- For harnesses. ----

struct ThreadBody {
  void (*call)(void* closure);
  alignas(16) char closure[112];
};
ThreadBody* NewThread(const char* name);

// Adds a logical thread, which begins with Join.
template <class F>
void Spawn(const char* name, F body) {
  static_assert(sizeof(F) <= sizeof(ThreadBody::closure) && std::is_trivially_destructible_v<F>);
  ThreadBody* thread = NewThread(name);
  new (thread->closure) F(body);
  thread->call = [](void* closure) { (*static_cast<F*>(closure))(); };
}

// Runs the spawned threads; returns when all have ended, with all that they did visible.
void Join();

[[noreturn]] void Fail(const char* kind, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

inline void Check(bool holds, const char* what) {
  if (!holds) Fail("assertion", "%s", what);
}

// Any of 0 .. n-1: the schedule's choice. For what comes from outside: an error, an order.
int Choose(int n);

// A spin's pause: the thread goes on when something that its round has read changes. One that
// nobody can end is reported as a deadlock.
void SpinPause();
// Others may go first, at no cost.
void GiveWay();

void NoteKnown(uint64_t* history);

// What a harness knows of the world and the program does not: no step of the schedule, no race.
template <class T>
class Known {
 public:
  constexpr Known(T value) : value_(value) {}  // NOLINT(google-explicit-constructor)
  Known& operator=(T value) {
    NoteKnown(&history_);
    value_ = value;
    return *this;
  }
  operator T() {  // NOLINT(google-explicit-constructor)
    NoteKnown(&history_);
    return value_;
  }
  T operator++() { return *this = static_cast<T>(value_ + 1); }
  T operator--() { return *this = static_cast<T>(value_ - 1); }

 private:
  T value_;
  uint64_t history_ = 0;
};

// What comes from here on is another harness's: a bounded search takes only the first choice, most
// random runs end here.
void LeaveTheRest();

// Which of the spawned threads runs, 1 .. 7; 0: the body itself.
int ThreadIndex();

// For worlds: called after each run that was left in its middle.
void OnLeave(void (*clear)());

// ---- For drivers. ----

// Switches and stale loads together are at most `preemptions`. For what is too large otherwise.
inline constexpr int kOneBudget = -1;

struct Options {
  int preemptions = 3;     // switches away from a thread that could go on, in one run
  int stale = 2;           // loads in one run that do not return the newest store; or kOneBudget
  bool unbounded = false;  // as many of both as there can be
  int most_steps = 4000;   // more is a livelock
  uint64_t most_runs = ~uint64_t{0};
  double most_seconds = 1e9;
  bool merge = true;      // states that several schedules reach: once
  bool spurious = false;  // futex waits may return for no reason
  bool random = false;    // PCT in place of depth first
  uint64_t seed = 1;
  int changes = 2;               // PCT: priority changes in one run
  const char* replay = nullptr;  // a Result's schedule
  bool trace = false;            // prints each step
};

struct Result {
  bool failed = false;
  bool complete = false;  // every schedule within the bounds was run
  std::string what;
  std::string schedule;  // replays it
  uint64_t runs = 0;
  uint64_t steps = 0;
  double seconds = 0;
};

Result Explore(const Options& options, void (*body)());

struct Harness {
  Harness(const char* harness_name, void (*harness_body)(), int harness_stale = 2);
  const char* const name;
  void (*const body)();
  const int stale;
  Harness* next = nullptr;
  static Harness* first;
};

// MODEL(name) or MODEL(name, stale): see Options.
#define MODEL(name, ...)                                                                      \
  static void Model_##name();                                                                 \
  static ::weft::model::Harness model_##name(#name, Model_##name __VA_OPT__(, ) __VA_ARGS__); \
  static void Model_##name()

}  // namespace weft::model
