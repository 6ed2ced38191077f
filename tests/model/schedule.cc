// Who runs next; sleeping, spinning, threads' begin and end.
#include <cstdarg>
#include <cstdio>
#include <string>
#include <utility>

#include "arch/arch.h"
#include "runtime/m.h"
#include "runtime/threadg.h"
#include "tests/model/views.h"

namespace weft::model {

namespace {

// In a thread's history, beside what it reads: no location's identity, no thread's id.
constexpr uint64_t kBegins = 0xb19b00f3'9a1c2d47;
constexpr uint64_t kGivesWay = 0x6fe5d1c4'0b83a72f;

// PCT's choice: of those with the highest priority the first, which is `best` if it is one.
int Highest(int best, uint32_t candidates) {
  for (; candidates != 0; candidates &= candidates - 1) {
    const int t = __builtin_ctz(candidates);
    best = engine.priority[t] > engine.priority[best] ? t : best;
  }
  return best;
}

// Threads that may run: those that are ready, `first` before others, then those whose timeout may
// pass.
Thread* ChooseThread(Kind kind, const Thread* first, uint32_t ready, uint32_t timed) {
  uint8_t option[kMostThreads];
  int n = 0;
  if (first != nullptr && (ready >> first->id & 1) != 0) {
    option[n++] = first->id;
    ready &= ~(1u << first->id);
  }
  for (; ready != 0; ready &= ready - 1) option[n++] = static_cast<uint8_t>(__builtin_ctz(ready));
  for (; timed != 0; timed &= timed - 1) option[n++] = static_cast<uint8_t>(__builtin_ctz(timed));
  if (n == 1) return &engine.thread[option[0]];
  int best = 0;
  if (engine.random) {
    for (int i = 1; i < n; i++) {
      if (engine.priority[option[i]] > engine.priority[option[best]]) best = i;
    }
  }
  return &engine.thread[option[Record(kind, n, best, option)]];
}

void PassTimeout(Thread* t) {
  engine.timed &= ~(1u << t->id);
  engine.ready |= 1u << t->id;
  t->state = State::kReady;
  t->timed_out = true;
  if (t->deadline > engine.clock) engine.clock = t->deadline;
  t->hash = Mixed(t->hash, static_cast<uint64_t>(engine.clock));
}

inline void SwitchTo(Thread* next) {
  Thread* self = engine.running;
  if ((engine.timed >> next->id & 1) != 0) PassTimeout(next);
  if (next == self) return;
  engine.running = next;
  self->m = runtime::weft_get_m();
  self->thread_g = runtime::weft_get_thread_g();
  arch::weft_switch(&self->sp, next->sp, nullptr);
  // Back again.
  runtime::weft_set_m(static_cast<runtime::M*>(self->m));
  runtime::weft_set_thread_g(self->thread_g);
}

uint32_t EarliestTimed() {
  uint32_t best = 0;
  int64_t when = INT64_MAX;
  for (uint32_t rest = engine.timed; rest != 0; rest &= rest - 1) {
    const int i = __builtin_ctz(rest);
    if (engine.thread[i].deadline < when) best = 0;
    if (engine.thread[i].deadline <= when) {
      best |= 1u << i;
      when = engine.thread[i].deadline;
    }
  }
  return best;
}

[[noreturn]] void FailStuck() {
  std::string text;
  for (int i = 0; i < engine.threads; i++) {
    const Thread& t = engine.thread[i];
    if (t.state == State::kDone || t.state == State::kJoins) continue;
    if (t.state == State::kOnFutex) {
      text.append(" ").append(t.name).append(" sleeps on ").append(engine.lane[t.futex].name);
      text.append(";");
      continue;
    }
    text.append(" ").append(t.name).append(" spins on");
    for (int k = 0; k < t.reads; k++) {
      const Lane& l = engine.lane[t.read[k]];
      text.append(" ").append(l.name).append("=");
      text.append(std::to_string(engine.message[l.newest].value));
    }
    text.append(";");
  }
  Fail("deadlock", "%s", text.c_str());
}

}  // namespace

uint64_t StateNow(Kind kind) {
  uint64_t state = Mixed(engine.order_hash + engine.seq_cst_hash, engine.kernel_hash);
  state = Mixed(state, static_cast<uint64_t>(engine.clock));
  state = Mixed(state, uint64_t{engine.ready} << 32 | engine.spins << 16 | engine.timed);
  for (int i = 0; i < engine.threads; i++) state = Mixed(state, engine.thread[i].hash);
  return Mixed(state, static_cast<uint64_t>(engine.running->id) << 8 | static_cast<uint64_t>(kind));
}

void Trace(const char* format, ...) {
  va_list args;
  va_start(args, format);
  printf("%5d  %-10s ", engine.steps, engine.running->name);
  vprintf(format, args);
  putchar('\n');
  va_end(args);
}

namespace {
// Which timeouts may pass although a thread is ready: at the price of a preemption.
uint32_t EarlyTimed() {
  return !engine.random && engine.preemptions_left > 0 ? engine.timed : 0;
}

// The running thread cannot stay, or gives way.
void Leave(Kind kind, uint32_t ready, uint32_t timed) {
  Thread* self = engine.running;
  Thread* next = ChooseThread(kind, self, ready, timed);
  if (ready != 0 && (engine.timed >> next->id & 1) != 0) SpendPreemption();
  SwitchTo(next);
  self->chosen = self->hash;
}
}  // namespace

void SwitchAway() {
  const uint32_t timed = engine.ready != 0 ? EarlyTimed() : EarliestTimed();
  if ((engine.ready | timed) == 0) FailStuck();
  Leave(Kind::kNext, engine.ready, timed);
}

void Step() {
  if (++engine.steps > engine.most_steps) [[unlikely]] {
    if (engine.unbounded) {
      engine.endless = true;
      LeaveRun();
    }
    Fail("livelock", "more than %d steps", engine.most_steps);
  }
}

void Point() {
  if (!engine.started) return;
  Step();
  Thread* self = engine.running;
  if (self->hash == self->chosen) return;  // just now: see merge.h
  if (engine.random) {
    if ((engine.ready & (engine.ready - 1)) == 0 && engine.timed == 0) return;
    if (engine.changes_left > 0 && engine.steps >= engine.next_change) {
      engine.changes_left--;
      engine.next_change =
          engine.steps + 1 + static_cast<int>(Random() % static_cast<uint64_t>(engine.run_length));
      engine.priority[self->id] = --engine.low_priority;
    }
    // A timeout that passes early, now and then.
    const bool early = engine.timed != 0 && Random() % 16 == 0;
    const uint32_t timed = early ? engine.timed : 0;
    if (Highest(self->id, engine.ready | timed) == self->id) return;
    SwitchTo(ChooseThread(Kind::kThread, self, engine.ready, timed));
    return;
  }
  if (engine.preemptions_left > 0) {
    const uint32_t candidates = engine.ready | engine.timed;
    if ((candidates & (candidates - 1)) == 0) return;
    Thread* next = ChooseThread(Kind::kThread, self, engine.ready, engine.timed);
    if (next == self) return;
    SpendPreemption();
    SwitchTo(next);
  }
}

// A store has happened: spinners that had read the location go on.
void WakeSpinners(int lane) {
  for (uint32_t set = engine.spins; set != 0; set &= set - 1) {
    Thread& t = engine.thread[__builtin_ctz(set)];
    if (t.read_round[lane] != t.round) continue;
    engine.spins &= ~(1u << t.id);
    engine.ready |= 1u << t.id;
    t.state = State::kReady;
  }
}

void SpinPause() {
  if (!InRun() || !engine.started) return;
  Thread& t = *engine.running;
  bool stale = false;
  for (int k = 0; k < t.reads; k++) {
    const int lane = t.read[k];
    const uint16_t newest = engine.message[engine.lane[lane].newest].place;
    // What the round relied on is out of date (it may have seen the newer store as well, later in
    // the round): another round will differ. Stores become visible in finite time: what this round
    // missed, the next one sees.
    if (t.read_place[lane] != newest) stale = true;
    t.now.At(lane) = newest;
    Mix(engine.message[engine.lane[lane].newest].hash);
  }
  Step();
  const bool waits = !stale && !t.wrote;
  if (engine.trace) Trace("spins%s", waits ? ": until something that it read changes" : "");
  if (waits) {
    t.state = State::kSpins;
    engine.ready &= ~(1u << t.id);
    engine.spins |= 1u << t.id;
    SwitchAway();
  } else if (t.wrote) {
    // The round wrote, so that another may differ; but the others go first, or the search's first
    // path would spin here for ever.
    GiveWay();
  }
  t.round++;
  t.reads = 0;
  t.wrote = false;
}

void GiveWay() {
  if (!InRun() || !engine.started) return;
  Thread& t = *engine.running;
  Mix(kGivesWay);
  if (engine.random) engine.priority[t.id] = --engine.low_priority;
  const uint32_t others = engine.ready & ~(1u << t.id);
  Leave(Kind::kGiveWay, others != 0 ? others : engine.ready, EarlyTimed());
}

bool SleepOn(int lane, int64_t timeout_ns) {
  Thread& t = *engine.running;
  if (engine.trace) Trace("sleeps on %s", engine.lane[lane].name);
  t.state = State::kOnFutex;
  t.futex = static_cast<uint8_t>(lane);
  t.timed_out = false;
  engine.ready &= ~(1u << t.id);
  if (timeout_ns >= 0) {
    t.deadline = engine.clock + timeout_ns;
    Mix(static_cast<uint64_t>(t.deadline));
    engine.timed |= 1u << t.id;
  }
  SwitchAway();
  if (engine.trace && t.timed_out) Trace("its time is over");
  return !t.timed_out;
}

int WakeOn(int lane, int count) {
  int woken = 0;
  while (woken < count) {
    uint8_t waiter[kMostThreads];
    int n = 0;
    for (int i = 0; i < engine.threads; i++) {
      const Thread& t = engine.thread[i];
      if (t.state == State::kOnFutex && t.futex == lane) waiter[n++] = static_cast<uint8_t>(i);
    }
    if (n == 0) break;
    int pick = 0;
    if (n > 1 && count < n) {
      pick = Record(Kind::kWoken, n, RandomBelow(n), waiter);
    }
    Thread& t = engine.thread[waiter[pick]];
    Mix(t.hash);
    t.hash = Mixed(t.hash, engine.running->hash);
    t.state = State::kReady;
    engine.ready |= 1u << t.id;
    engine.timed &= ~(1u << t.id);
    woken++;
  }
  Mix(static_cast<uint64_t>(woken));
  if (engine.trace) Trace("wakes %d on %s", woken, engine.lane[lane].name);
  return woken;
}

// ---- The bounds ----

void SpendPreemption() {
  if (engine.unbounded) return;
  engine.preemptions_left--;
  if (engine.one_budget) engine.stale_left--;
}

void SpendStale() {
  if (engine.unbounded) return;
  engine.stale_left--;
  if (engine.one_budget) engine.preemptions_left--;
}

// ---- Begin and end ----

namespace {
// The stand-in of a plain thread, made between runs: in each it is as new.
void* ThreadGOf(int thread) {
  return engine.thread_g[thread];
}
}  // namespace

void MakeThreadGs() {
  for (void*& g : engine.thread_g) {
    if (g != nullptr) continue;
    runtime::weft_set_thread_g(nullptr);
    g = runtime::ThreadG();
  }
}

void PrepareThread(Thread* t, void (*entry)()) {
  const uintptr_t top = reinterpret_cast<uintptr_t>(engine.stack[t->id] + kStackSize);
  t->sp = arch::MakeContext(top - arch::kCallBytes, entry);
}

void ThreadMain() {
  Thread* self = engine.running;
  runtime::weft_set_m(nullptr);
  runtime::weft_set_thread_g(ThreadGOf(self->id));
  self->body.call(self->body.closure);
  if (engine.trace) Trace("ends");
  self->state = State::kDone;
  engine.done |= 1u << self->id;
  engine.ready &= ~(1u << self->id);
  Thread& body = engine.thread[0];
  model::Join(&body.now, self->now, engine.vectors);
  if (--engine.live == 0) {
    body.state = State::kReady;
    engine.ready |= 1;
  }
  SwitchAway();
  __builtin_unreachable();
}

namespace {
void BeginThread(Thread& t, Thread& by) {
  Copy(&t.now, by.now);  // a start synchronizes
  t.now.Clock(t.id) = 1;
  by.now.Clock(by.id)++;
  by.hash = Mixed(by.hash, t.id);
  t.hash = t.chosen = Mixed(by.hash, kBegins);
  engine.priority[t.id] = engine.random ? static_cast<int>(Random() >> 40) + 100 : 0;
  engine.ready |= 1u << t.id;
}
}  // namespace

ThreadBody* NewThread(const char* name) {
  if (engine.threads == kMostThreads) Fail("limit", "more than %d threads", kMostThreads);
  Thread& t = engine.thread[engine.threads];
  t.id = static_cast<uint8_t>(engine.threads++);
  t.name = name;
  t.state = State::kReady;
  t.wrote = false;
  t.reads = 0;
  t.round = 1;
  t.hash = t.id;
  t.makes = 0;
  t.deadline = 0;
  for (int i = 0; i < engine.lanes; i++) t.read_round[i] = 0;
  for (int i = 0; i < engine.vectors; i++) {
    t.now.vector[i] = t.unfenced.vector[i] = t.released.vector[i] = Vector{};
  }
  PrepareThread(&t, ThreadMain);
  if (engine.started) {
    BeginThread(t, *engine.running);
    engine.live++;
  }
  return &t.body;
}

void Join() {
  Thread& body = *engine.running;
  for (int i = 1; i < engine.threads; i++) {
    BeginThread(engine.thread[i], body);
  }
  engine.live = engine.threads - 1;
  engine.started = true;
  body.state = State::kJoins;
  engine.ready &= ~1u;
  SwitchAway();
  engine.started = false;
}

int ThreadIndex() {
  return engine.running->id;
}

int Choose(int n) {
  const int pick = Record(Kind::kHarness, n, RandomBelow(n), nullptr);
  Mix(static_cast<uint64_t>(pick));
  return pick;
}

void MixShared(uint64_t* history) {
  Mix(*history);
  *history = engine.running->hash;
}

void NoteKnown(uint64_t* history) {
  if (InRun()) MixShared(history);
}

}  // namespace weft::model
