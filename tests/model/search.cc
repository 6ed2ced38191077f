// Which schedules are run: depth first within bounds, at random with priorities (PCT), or one that
// is given.
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "arch/arch.h"
#include "runtime/m.h"
#include "tests/model/engine.h"

namespace weft::model {

Engine engine;
uint32_t current_run = 0;
Site* Site::all = nullptr;
Harness* Harness::first = nullptr;

Harness::Harness(const char* harness_name, void (*harness_body)(), int harness_stale)
    : name(harness_name), body(harness_body), stale(harness_stale) {
  Harness** at = &first;
  while (*at != nullptr && strcmp((*at)->name, name) < 0) at = &(*at)->next;
  next = *at;
  *at = this;
}

const char* OrderName(MemoryOrder order) {
  static const char* const kNames[] = {"relaxed", "acquire", "release", "acq_rel", "seq_cst"};
  return kNames[static_cast<int>(order)];
}

int Weaker(const Site& site, MemoryOrder out[2]) {
  const bool reads = (site.kinds & (kIsLoad | kIsRmw | kIsFence)) != 0;
  const bool writes = (site.kinds & (kIsStore | kIsRmw | kIsFence)) != 0;
  switch (site.written) {
    case MemoryOrder::kSeqCst:
      out[0] = reads && writes ? MemoryOrder::kAcqRel
               : reads         ? MemoryOrder::kAcquire
                               : MemoryOrder::kRelease;
      return site.kinds != 0 ? 1 : 0;
    case MemoryOrder::kAcqRel:
      out[0] = MemoryOrder::kAcquire;
      out[1] = MemoryOrder::kRelease;
      return 2;
    case MemoryOrder::kAcquire:
    case MemoryOrder::kRelease:
      out[0] = MemoryOrder::kRelaxed;
      return 1;
    case MemoryOrder::kRelaxed:
      break;
  }
  return 0;
}

uint64_t Random() {
  engine.rng += 0x9e3779b97f4a7c15;
  uint64_t z = engine.rng;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

int RandomBelow(int n) {
  return engine.random ? static_cast<int>(Random() % static_cast<uint64_t>(n)) : 0;
}

namespace {

// A replay gives only the choices that are not the first, and those that are always told.
int Given(Kind kind, int n, const uint8_t* means) {
  const ChoiceMade& next = engine.choice[engine.depth];
  if (engine.depth == engine.replayed || next.kind != kind || next.step != engine.steps ||
      next.thread != engine.running->id) {
    return 0;
  }
  engine.depth++;
  for (int i = 0; i < n; i++) {
    if ((means != nullptr ? means[i] : i) == next.means) return i;
  }
  Fail("replay", "%d is not among the %d choices", next.means, n);
}

// A step may have several of these, so that a replay must know all; of the others it has one.
bool IsAlwaysTold(Kind kind) {
  return kind == Kind::kHarness || kind == Kind::kWoken;
}

// A state that was seen is left.
void LeaveIfKnown(Kind kind) {
  if (!engine.merges) return;
  if (!SeenBefore(StateNow(kind), engine.preemptions_left, engine.stale_left)) return;
  engine.known = true;
  LeaveRun();
}

}  // namespace

// Takes the recorded choice if there is one, else `otherwise`, and records that.
int Record(Kind kind, int n, int otherwise, const uint8_t* means) {
  if (engine.replays) return Given(kind, n, means);
  if (engine.random ? otherwise == 0 && !IsAlwaysTold(kind) : engine.rest) return 0;
  if (engine.depth == kMostChoices) Fail("limit", "more than %d choices", kMostChoices);
  ChoiceMade& c = engine.choice[engine.depth];
  if (engine.depth < engine.recorded) {
    if (c.of != n) Fail("nondeterminism", "choice %d was of %d, is of %d", engine.depth, c.of, n);
  } else {
    LeaveIfKnown(kind);
    c.pick = static_cast<uint8_t>(otherwise);
    c.of = static_cast<uint8_t>(n);
  }
  c.kind = kind;
  c.thread = engine.running->id;
  c.means = means != nullptr ? means[c.pick] : c.pick;
  c.step = engine.steps;
  engine.depth++;
  return c.pick;
}

// One in so many random runs goes on where the rest is left to others.
constexpr uint64_t kRunsToTheEnd = 8;

void LeaveTheRest() {
  if (engine.replays) return;
  if (engine.random) {
    if (Random() % kRunsToTheEnd == 0) return;
    engine.known = true;
    LeaveRun();
  }
  engine.rest = true;
  engine.preemptions_left = engine.stale_left = 0;
  LeaveIfKnown(Kind::kHarness);
}

void Fail(const char* kind, const char* format, ...) {
  va_list args;
  va_start(args, format);
  const int at = snprintf(engine.what, sizeof(engine.what), "%s in %s at step %d: ", kind,
                          engine.running->name, engine.steps);
  vsnprintf(engine.what + at, sizeof(engine.what) - static_cast<size_t>(at), format, args);
  va_end(args);
  engine.failed = true;
  if (engine.trace) Trace("FAILS: %s", engine.what);
  LeaveRun();
}

void LeaveRun() {
  void* dead = nullptr;
  arch::weft_switch(&dead, engine.driver_sp, nullptr);
  __builtin_unreachable();
}

void OnLeave(void (*clear)()) {
  if (engine.clears == kMostClears) abort();
  engine.clear[engine.clears++] = clear;
}

namespace {

constexpr int kFirstRunLength = 64;  // where PCT's change points fall, until a run has shown

[[noreturn]] void BodyMain() {
  engine.body();
  LeaveRun();
}

void ResetRun(const Options& o) {
  ResetHeap();
  ResetMemory();
  engine.running = &engine.thread[0];
  engine.ready = 1;
  engine.spins = engine.timed = engine.done = 0;
  engine.steps = 0;
  const bool unlimited = o.random || o.replay != nullptr;
  engine.preemptions_left = unlimited ? 1 << 30 : o.preemptions;
  engine.one_budget = o.stale == kOneBudget;
  engine.stale_left = unlimited ? 1 << 30 : engine.one_budget ? o.preemptions : o.stale;
  // Never spent, and small enough that states are compared.
  if (engine.unbounded) engine.preemptions_left = engine.stale_left = 1;
  engine.depth = 0;
  engine.threads = 0;
  engine.started = false;
  engine.known = engine.learnt = engine.rest = engine.endless = false;
  engine.kernel_hash = 0;
  engine.clock = 1'000'000'000;
  NewThread("body");
  Thread& body = engine.thread[0];
  body.now.Clock(0) = 1;
  engine.priority[0] = 0;
  PrepareThread(&body, BodyMain);
}

double Now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// "57.1t2,60.2r1": at step 57, thread 1's, thread 2 goes first; at step 60 thread 2 reads the store
// before the newest. The letters are those of Kind; what is not said is the first choice.
constexpr char kLetters[] = "tngrpwh";

std::string ScheduleText() {
  std::string text;
  for (int i = 0; i < engine.depth; i++) {
    const ChoiceMade& c = engine.choice[i];
    if (c.pick == 0 && !IsAlwaysTold(c.kind)) continue;
    if (!text.empty()) text += ",";
    text += std::to_string(c.step) + "." + std::to_string(c.thread) +
            kLetters[static_cast<int>(c.kind)] + std::to_string(c.means);
  }
  return text.empty() ? "-" : text;
}

// Reads a schedule into engine.choice; returns how many choices it has, or -1.
int ReadSchedule(const char* text) {
  int n = 0;
  for (const char* p = text; *p != 0 && strcmp(text, "-") != 0; n++) {
    int step = 0;
    int thread = 0;
    int means = 0;
    char letter = 0;
    int length = 0;
    if (n == kMostChoices) return -1;
    if (sscanf(p, "%d.%d%c%d%n", &step, &thread, &letter, &means, &length) != 4) return -1;
    const char* kind = strchr(kLetters, letter);
    if (kind == nullptr || letter == 0) return -1;
    engine.choice[n] = {0,
                        0,
                        static_cast<Kind>(kind - kLetters),
                        static_cast<uint8_t>(thread),
                        static_cast<uint8_t>(means),
                        step};
    p += length;
    if (*p == ',') p++;
  }
  return n;
}

void SeedRun(const Options& o, uint64_t run) {
  engine.rng = (o.seed + run) * 0xd1342543de82ef95;
  engine.low_priority = 0;
  engine.changes_left = o.changes;
  engine.next_change = 1 + static_cast<int>(Random() % static_cast<uint64_t>(engine.run_length));
  engine.recorded = 0;
}

// Depth first: the last choice that has another alternative takes it. False: there is none.
bool Advance() {
  int d = engine.depth;
  while (d > 0 && engine.choice[d - 1].pick + 1 == engine.choice[d - 1].of) d--;
  if (d == 0) return false;
  engine.choice[d - 1].pick++;
  engine.recorded = d;
  return true;
}

void RunOnce() {
  static uint32_t runs = 0;
  if (++runs == 0) runs = 1;
  current_run = runs;
  arch::weft_switch(&engine.driver_sp, engine.thread[0].sp, nullptr);
  current_run = 0;
  runtime::weft_set_m(nullptr);
  if (!engine.failed && !engine.known && !engine.learnt && !engine.endless) return;
  for (int i = 0; i < engine.clears; i++) engine.clear[i]();
}

Result Search(const Options& o) {
  Result r;
  engine.failed = false;
  engine.most_steps = o.most_steps;
  engine.recorded = 0;
  engine.run_length = kFirstRunLength;
  engine.random = o.random;
  engine.trace = o.trace;
  engine.spurious = o.spurious;
  engine.unbounded = o.unbounded && !o.random && o.replay == nullptr;
  engine.merges = o.merge && !o.random && o.replay == nullptr;
  ForgetStates();
  const double start = Now();
  while (r.runs < o.most_runs) {
    if (o.random) SeedRun(o, r.runs);
    ResetRun(o);
    RunOnce();
    if (engine.learnt) {
      if (o.random) continue;
      ForgetStates();
      engine.recorded = 0;
      r.runs = r.steps = 0;
      continue;
    }
    r.runs++;
    r.steps += static_cast<uint64_t>(engine.steps);
    if (o.random && engine.steps > 0) engine.run_length = engine.steps;
    if (engine.failed) {
      r.failed = true;
      r.what = engine.what;
      r.schedule = ScheduleText();
      break;
    }
    if (engine.endless) break;
    if ((r.runs & 255) == 0 && Now() - start > o.most_seconds) break;
    if (!o.random && !Advance()) {
      r.complete = true;
      break;
    }
  }
  r.seconds = Now() - start;
  return r;
}

Result Replay(Options o) {
  Result r;
  o.random = false;
  o.most_runs = 1;
  engine.replays = true;
  engine.replayed = ReadSchedule(o.replay);
  if (engine.replayed >= 0) {
    r = Search(o);
  } else {
    r.what = std::string("not a schedule: ") + o.replay;
  }
  engine.replays = false;
  return r;
}

// What failed, as its replay says: there all locations are known.
Result AsReplayed(Result r, const Options& o) {
  Options again = o;
  again.replay = r.schedule.c_str();
  const Result replayed = Replay(again);
  r.what = replayed.failed ? replayed.what : r.what + " (its replay does not fail)";
  return r;
}

// Random runs tell which locations are shared, before a search that would begin anew at each.
constexpr uint64_t kFirstRuns = 200;

}  // namespace

Result Explore(const Options& o, void (*body)()) {
  MakeThreadGs();
  CatchCrashes();
  ForgetShared();
  engine.body = body;
  if (o.replay != nullptr) return Replay(o);
  if (!o.random) {
    Options first = o;
    first.random = true;
    first.most_runs = kFirstRuns;
    const Result r = Search(first);
    if (r.failed) return AsReplayed(r, o);
  }
  const Result r = Search(o);
  return r.failed ? AsReplayed(r, o) : r;
}

}  // namespace weft::model
