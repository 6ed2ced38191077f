// Which schedules are run: depth first within bounds, at random with priorities (PCT), or one that
// is given.
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "arch/arch.h"
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

// Takes the recorded choice if there is one, else `otherwise`, and records that.
int Record(int n, int otherwise) {
  if (engine.depth == kMostChoices) Fail("limit", "more than %d choices", kMostChoices);
  ChoiceMade& c = engine.choice[engine.depth];
  if (engine.depth++ < engine.recorded) {
    if (c.of != 0 && c.of != n) {
      Fail("nondeterminism", "choice %d was of %d, is of %d", engine.depth, c.of, n);
    }
    c.of = static_cast<uint8_t>(n);
    if (c.pick >= n) Fail("replay", "choice %d: %d of %d", engine.depth, c.pick, n);
    return c.pick;
  }
  c = {static_cast<uint8_t>(otherwise), static_cast<uint8_t>(n)};
  return otherwise;
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
  void* dead = nullptr;
  arch::weft_switch(&dead, engine.driver_sp, nullptr);  // the run is abandoned where it stands
  __builtin_unreachable();
}

namespace {

constexpr int kFirstRunLength = 64;  // where PCT's change points fall, until a run has shown

[[noreturn]] void BodyMain() {
  engine.body();
  void* dead = nullptr;
  arch::weft_switch(&dead, engine.driver_sp, nullptr);
  __builtin_unreachable();
}

void ResetRun(const Options& o) {
  ResetMemory();
  engine.running = &engine.thread[0];
  engine.ready = 1;
  engine.spins = engine.timed = 0;
  engine.steps = 0;
  engine.preemptions_left = o.random ? 1 << 30 : o.preemptions;
  engine.stale_left = o.random ? 1 << 30 : o.stale;
  engine.depth = 0;
  engine.threads = 0;
  engine.started = false;
  engine.fresh = false;
  engine.clock = 1'000'000'000;
  NewThread("body");
  Thread& body = engine.thread[0];
  body.now.Clock(0) = 1;
  body.priority = 0;
  PrepareThread(&body, BodyMain);
}

double Now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// "3.2:0*14,1,0*2": preemptions and stale loads allowed, then the choices. "r17.64:...": the seed,
// and the length of the run before, which decides where priorities change.
std::string ScheduleText(const Options& o, uint64_t seed) {
  std::string text =
      o.random ? "r" + std::to_string(seed) + "." + std::to_string(engine.seeded_length) + ":"
               : std::to_string(o.preemptions) + "." + std::to_string(o.stale) + ":";
  for (int i = 0; i < engine.depth;) {
    int j = i;
    while (j < engine.depth && engine.choice[j].pick == engine.choice[i].pick) j++;
    if (i > 0) text += ",";
    text += std::to_string(engine.choice[i].pick);
    if (j - i > 1) text += "*" + std::to_string(j - i);
    i = j;
  }
  return text;
}

// Reads a schedule into engine.choice; returns how many choices it has.
int ReadSchedule(const char* text, Options* o) {
  char* p = const_cast<char*>(text);
  o->random = *p == 'r';
  if (o->random) {
    o->seed = strtoull(p + 1, &p, 10);
    engine.run_length = static_cast<int>(strtol(p + 1, &p, 10));
  } else {
    o->preemptions = static_cast<int>(strtol(p, &p, 10));
    o->stale = static_cast<int>(strtol(p + 1, &p, 10));
  }
  int n = 0;
  while (*p == ':' || *p == ',') {
    if (p[1] == 0) break;
    const long pick = strtol(p + 1, &p, 10);
    long times = *p == '*' ? strtol(p + 1, &p, 10) : 1;
    for (; times > 0 && n < kMostChoices; times--) {
      engine.choice[n++] = {static_cast<uint8_t>(pick), 0};
    }
  }
  return n;
}

void SeedRun(const Options& o, uint64_t run) {
  engine.rng = (o.seed + run) * 0xd1342543de82ef95;
  engine.low_priority = 0;
  engine.changes_left = o.changes;
  engine.seeded_length = engine.run_length;
  engine.next_change = 1 + static_cast<int>(Random() % static_cast<uint64_t>(engine.run_length));
  if (o.replay == nullptr) engine.recorded = 0;
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
}

}  // namespace

Result Explore(const Options& given, void (*body)()) {
  Options o = given;
  Result r;
  MakeThreadGs();
  CatchCrashes();
  engine.body = body;
  engine.failed = false;
  engine.most_steps = o.most_steps;
  engine.recorded = 0;
  engine.run_length = kFirstRunLength;
  if (o.replay != nullptr) {
    engine.recorded = ReadSchedule(o.replay, &o);
    o.most_runs = 1;
  }
  engine.random = o.random;
  engine.trace = o.trace;
  engine.spurious = o.spurious;
  const double start = Now();
  while (r.runs < o.most_runs) {
    if (o.random) SeedRun(o, r.runs);
    ResetRun(o);
    RunOnce();
    r.runs++;
    r.steps += static_cast<uint64_t>(engine.steps);
    if (o.random && engine.steps > 0) engine.run_length = engine.steps;
    if (engine.failed) {
      r.failed = true;
      r.what = engine.what;
      r.schedule = ScheduleText(o, o.seed + r.runs - 1);
      break;
    }
    if ((r.runs & 255) == 0 && Now() - start > o.most_seconds) break;
    if (o.random || o.replay != nullptr) continue;
    if (!Advance()) {
      r.complete = true;
      break;
    }
  }
  r.seconds = Now() - start;
  return r;
}

}  // namespace weft::model
