// The memory model: what a load may return, where a store may go; see model.h.
#include <cstdio>
#include <cstring>

#include "tests/model/engine.h"

namespace weft::model {

namespace {

inline Vector Max(Vector a, Vector b) {
  return a > b ? a : b;
}

inline void Join(View* into, const View& from, int vectors) {
  for (int i = 0; i < vectors; i++) into->vector[i] = Max(into->vector[i], from.vector[i]);
}
inline void JoinLocations(View* into, const View& from) {
  for (int i = 1; i < engine.vectors; i++) into->vector[i] = Max(into->vector[i], from.vector[i]);
}
inline void Copy(View* into, const View& from) {
  for (int i = 0; i < engine.vectors; i++) into->vector[i] = from.vector[i];
}

long long Shown(uint64_t value) {
  return static_cast<long long>(value);
}

inline Message* NewMessage(uint64_t value) {
  if (engine.messages == kMostMessages) Fail("limit", "more than %u stores", kMostMessages);
  Message* m = &engine.message[engine.messages++];
  m->value = value;
  m->rmw = false;
  m->vectors = static_cast<uint8_t>(engine.vectors);
  return m;
}

inline Message& Newest(int lane) {
  return engine.message[engine.lane[lane].newest];
}

// A vector more in every view that lasts.
void Widen() {
  if (engine.vectors == kMostVectors) Fail("limit", "more than %d locations", kMostLocations);
  const int last = engine.vectors++;
  for (int i = 0; i < engine.threads; i++) {
    Thread& t = engine.thread[i];
    t.now.vector[last] = t.acquired.vector[last] = t.released.vector[last] = Vector{};
  }
  engine.seq_cst.vector[last] = Vector{};
}

// The place of the oldest store that the running thread may still read or overtake.
inline uint16_t OldestAllowed(int lane, MemoryOrder order) {
  const uint16_t known = engine.running->now.At(lane);
  if (order != MemoryOrder::kSeqCst) return known;
  return engine.seq_cst.At(lane) > known ? engine.seq_cst.At(lane) : known;
}

inline void NoteSeqCst(int lane, MemoryOrder order, uint16_t place) {
  if (order == MemoryOrder::kSeqCst && place > engine.seq_cst.At(lane)) {
    engine.seq_cst.At(lane) = place;
  }
}

// 0: the newest; 1 .. n: one of `n` others, which counts as a stale load.
int PickStale(int n) {
  int otherwise = 0;
  if (engine.random && Random() % 4 == 0) {
    otherwise = static_cast<int>(Random() % static_cast<uint64_t>(n + 1));
  }
  const int pick = Record(n + 1, otherwise);
  if (pick > 0) engine.stale_left--;
  return pick;
}

// A store may take an earlier place in modification order than those already made, if its thread
// does not know of them: a relaxed store that another thread's later store overtakes (2+2W and its
// kin). So may a read-modify-write, which then reads what it is put on. Returns the message to put
// it under, or null for the newest place.
Message* ChoosePlace(int lane, MemoryOrder order) {
  const uint16_t known = OldestAllowed(lane, order);
  Message* m = &Newest(lane);
  if (m->place == known || engine.stale_left <= 0) return nullptr;
  Message* option[16];
  int n = 0;
  for (; m->place > known && n < 15; m = &engine.message[m->previous]) {
    const uint16_t below = engine.message[m->previous].place;
    if (!m->rmw && m->place - below > 1) option[n++] = m;
  }
  if (n == 0) return nullptr;
  const int pick = PickStale(n);
  if (pick == 0) return nullptr;
  return option[pick - 1];
}

uint16_t TakePlace(int lane, Message* m, Message* above) {
  const uint32_t index = static_cast<uint32_t>(m - engine.message);
  if (above == nullptr) [[likely]] {
    const uint16_t newest = Newest(lane).place;
    if (newest > 65535 - kGap) Fail("limit", "too many stores to %s", engine.lane[lane].name);
    m->previous = engine.lane[lane].newest;
    engine.lane[lane].newest = index;
    return static_cast<uint16_t>(newest + kGap);
  }
  const uint16_t below = engine.message[above->previous].place;
  m->previous = above->previous;
  above->previous = index;
  if (engine.trace) Trace("  (overtaken: placed before := %lld)", Shown(above->value));
  return static_cast<uint16_t>(below + (above->place - below) / 2);
}

void Publish(int lane, MemoryOrder order, uint64_t value, const Message* read, Message* above) {
  Thread& t = *engine.running;
  Message* m = NewMessage(value);
  const uint16_t place = TakePlace(lane, m, above);
  m->place = place;
  m->rmw = read != nullptr;
  t.now.At(lane) = t.acquired.At(lane) = place;
  if (Releases(order)) {
    Copy(&m->view, t.now);
  } else {
    Copy(&m->view, t.released);
    m->view.At(lane) = place;
  }
  if (read != nullptr) Join(&m->view, read->view, read->vectors);  // a release sequence goes on
  NoteSeqCst(lane, order, place);
  t.now.Clock(t.id)++;
  if (read != nullptr && read->value == value) {
    // An exchange that changed nothing, as a test-and-set lock's in a spin: a round of only such
    // may sleep, and wakes nobody.
    if (t.read_place[lane] == read->place) t.read_place[lane] = place;
  } else {
    t.wrote = true;
    if (engine.spins != 0) [[unlikely]]
      WakeSpinners(lane);
  }
}

inline void NoteRead(Thread& t, int lane, const Message& m) {
  if (t.read_round[lane] == t.round) return;
  t.read_round[lane] = t.round;
  t.read_place[lane] = m.place;
  t.read[t.reads++] = static_cast<uint8_t>(lane);
}

inline void Take(Thread& t, int lane, MemoryOrder order, const Message& m) {
  NoteRead(t, lane, m);
  if (Acquires(order)) Join(&t.now, m.view, m.vectors);
  Join(&t.acquired, m.view, m.vectors);
}

inline int Enter(const Location& location) {
  const int lane = location.lane;
  if (engine.lane[lane].destroyed) [[unlikely]] {
    Fail("use after free", "%s was touched after its end", engine.lane[lane].name);
  }
  return lane;
}

// The message that a read-modify-write reads.
inline const Message& Under(int lane, const Message* above) {
  return engine.message[above != nullptr ? above->previous : engine.lane[lane].newest];
}

}  // namespace

void CopyView(View* into, const View& from) {
  Copy(into, from);
}

void JoinView(View* into, const View& from, int vectors) {
  Join(into, from, vectors);
}

void ResetMemory() {
  engine.messages = 0;
  engine.lanes = 0;
  engine.vectors = 1;
  engine.seq_cst.vector[0] = Vector{};
}

// ---- Objects ----

void NoteMade(Location& location) {
  location.run = 0;
  location.made_run = current_run;
  location.maker = static_cast<uint8_t>(engine.running->id);
  location.made = engine.running->now.Clock(engine.running->id);
}

void NoteDestroyed(Location& location) {
  if (location.run == current_run) engine.lane[location.lane].destroyed = true;
}

void Freed(const void* memory, size_t bytes) {
  for (int i = 0; i < engine.lanes; i++) {
    const char* at = reinterpret_cast<const char*>(engine.lane[i].address);
    const char* begin = static_cast<const char*>(memory);
    if (at >= begin && at < begin + bytes) engine.lane[i].destroyed = true;
  }
}

void Register(Location& location, const char* name, uint64_t value) {
  Thread& t = *engine.running;
  if (location.made_run == current_run && location.made > t.now.Clock(location.maker)) {
    Fail("data race", "%s is used before its making is visible", name);
  }
  if (engine.lanes == (engine.vectors - 1) * kVectorLanes) Widen();
  const int lane = engine.lanes++;
  location.lane = static_cast<uint8_t>(lane);
  location.run = current_run;
  Message* m = NewMessage(value);
  const uint32_t index = static_cast<uint32_t>(m - engine.message);
  m->previous = index;
  m->place = kGap;
  for (int i = 0; i < engine.vectors; i++) m->view.vector[i] = Vector{};
  engine.lane[lane] = {name, index, false, &location};
  // Everybody knows it: who may touch it at all has it from its maker.
  for (int i = 0; i < engine.threads; i++) {
    engine.thread[i].now.At(lane) = engine.thread[i].acquired.At(lane) = kGap;
    engine.thread[i].released.At(lane) = 0;
    engine.thread[i].read_round[lane] = 0;
  }
}

// ---- Operations ----

uint64_t DoLoad(Location& location, Site& site) {
  Point();
  const int lane = Enter(location);
  Thread& t = *engine.running;
  const MemoryOrder order = site.order;
  site.kinds |= kIsLoad;
  const Message* m = &Newest(lane);
  const uint16_t oldest = OldestAllowed(lane, order);
  if (m->place != oldest && engine.stale_left > 0) {
    int older = 0;
    for (const Message* k = m; k->place > oldest; k = &engine.message[k->previous]) older++;
    for (int i = PickStale(older); i > 0; i--) m = &engine.message[m->previous];
  }
  t.now.At(lane) = m->place;
  NoteSeqCst(lane, order, m->place);
  Take(t, lane, order, *m);
  if (engine.trace) {
    Trace("%lld          load %s %s%s", Shown(m->value), OrderName(order), site.name,
          m != &Newest(lane) ? "  STALE" : "");
  }
  return m->value;
}

void DoStore(Location& location, Site& site, uint64_t value) {
  Point();
  const int lane = Enter(location);
  site.kinds |= kIsStore;
  if (engine.trace) Trace("-> %lld  store %s %s", Shown(value), OrderName(site.order), site.name);
  Publish(lane, site.order, value, nullptr, ChoosePlace(lane, site.order));
}

uint64_t DoRmw(Location& location, Site& site, Rmw what, uint64_t operand, uint64_t mask) {
  Point();
  const int lane = Enter(location);
  site.kinds |= kIsRmw;
  Message* above = ChoosePlace(lane, site.order);
  const Message& m = Under(lane, above);
  Thread& t = *engine.running;
  t.now.At(lane) = m.place;
  Take(t, lane, site.order, m);
  uint64_t value = operand;
  if (what == Rmw::kAdd) value = m.value + operand;
  if (what == Rmw::kOr) value = m.value | operand;
  if (what == Rmw::kAnd) value = m.value & operand;
  value &= mask;
  if (engine.trace) {
    Trace("%lld -> %lld  rmw %s %s", Shown(m.value), Shown(value), OrderName(site.order),
          site.name);
  }
  Publish(lane, site.order, value, &m, above);
  return m.value;
}

namespace {
// A compare-exchange that fails is a load: it may fail on a value that is out of date. Null: it
// acts on the newest.
const Message* ChooseStaleFailure(int lane, MemoryOrder order, uint64_t expected) {
  if (engine.stale_left <= 0) return nullptr;
  const uint16_t oldest = OldestAllowed(lane, order);
  const Message* option[16];
  int n = 0;
  for (const Message* m = &Newest(lane); m->place > oldest && n < 15;) {
    m = &engine.message[m->previous];
    if (m->value != expected) option[n++] = m;
  }
  if (n == 0) return nullptr;
  const int pick = PickStale(n);
  if (pick == 0) return nullptr;
  return option[pick - 1];
}
}  // namespace

bool DoCompareExchange(Location& location, Site& site, uint64_t& expected, uint64_t desired) {
  Point();
  const int lane = Enter(location);
  site.kinds |= kIsRmw;
  const MemoryOrder order = site.order;
  const Message* stale = ChooseStaleFailure(lane, order, expected);
  Message* above = stale == nullptr ? ChoosePlace(lane, order) : nullptr;
  const Message& m = stale == nullptr ? Under(lane, above) : *stale;
  Thread& t = *engine.running;
  t.now.At(lane) = m.place;
  Take(t, lane, order, m);
  if (engine.trace) {
    Trace("%lld (expected %lld) -> %lld  cas %s %s%s", Shown(m.value), Shown(expected),
          Shown(desired), OrderName(order), site.name, m.value == expected ? "" : "  FAILED");
  }
  if (m.value != expected) {
    NoteSeqCst(lane, order, m.place);
    expected = m.value;
    return false;
  }
  Publish(lane, order, desired, &m, above);
  return true;
}

namespace {
void FenceOn(Thread& t, MemoryOrder order) {
  if (Acquires(order)) Join(&t.now, t.acquired, engine.vectors);
  if (order == MemoryOrder::kSeqCst) {
    JoinLocations(&t.now, engine.seq_cst);
    JoinLocations(&engine.seq_cst, t.now);
  }
  if (Releases(order)) {
    Copy(&t.released, t.now);
    t.now.Clock(t.id)++;
  }
}
}  // namespace

void DoFence(Site& site) {
  if (site.order == MemoryOrder::kSeqCst) Point();  // the others are local
  site.kinds |= kIsFence;
  FenceOn(*engine.running, site.order);
  if (engine.trace) Trace("fence %s %s", OrderName(site.order), site.name);
}

void FenceAll() {
  Point();
  if (engine.trace) Trace("membarrier");
  FenceOn(*engine.running, MemoryOrder::kSeqCst);
  for (int i = 0; i < engine.threads; i++) {
    if (&engine.thread[i] != engine.running) FenceOn(engine.thread[i], MemoryOrder::kSeqCst);
  }
  FenceOn(*engine.running, MemoryOrder::kSeqCst);
}

uint64_t ReadNewest(Location& location) {
  const int lane = Enter(location);
  const Message& m = Newest(lane);
  engine.running->now.At(lane) = m.place;
  Take(*engine.running, lane, MemoryOrder::kRelaxed, m);
  return m.value;
}

// ---- Plain fields ----

namespace {
[[noreturn]] void Race(const char* what, int other) {
  Fail("data race", "plain field: %s, unordered with %s", what, engine.thread[other].name);
}

inline void Renew(PlainState& p) {
  if (p.run == current_run) return;
  p.run = current_run;
  p.writer = 0;
  p.write_clock = 0;
  p.destroyed = false;
  memset(p.reads, 0, sizeof(p.reads));
}

inline void CheckWriter(PlainState& p, Thread& t, const char* what) {
  if (p.destroyed) Fail("use after free", "plain field: %s after its end", what);
  if (p.write_clock > t.now.Clock(p.writer)) Race(what, p.writer);
}
}  // namespace

void PlainMade(PlainState& p) {
  p.run = 0;
  Renew(p);
  p.writer = engine.running->id;
  p.write_clock = engine.running->now.Clock(p.writer);
}

void PlainDestroyed(PlainState& p) {
  PlainWrite(p);
  p.destroyed = true;
}

void PlainRead(PlainState& p) {
  Renew(p);
  Thread& t = *engine.running;
  CheckWriter(p, t, "read after a write");
  p.reads[t.id] = t.now.Clock(t.id);
}

Clocks StampReads() {
  return engine.running->now.vector[0];
}

void CommitRead(PlainState& p, const Clocks& stamp) {
  Renew(p);
  const uint16_t* clocks = reinterpret_cast<const uint16_t*>(&stamp);
  if (p.write_clock > clocks[p.writer]) Race("speculative read with a write", p.writer);
  const Thread& t = *engine.running;
  if (p.reads[t.id] < clocks[t.id]) p.reads[t.id] = clocks[t.id];
}

void PlainWrite(PlainState& p) {
  Renew(p);
  Thread& t = *engine.running;
  CheckWriter(p, t, "write after a write");
  for (int i = 0; i < engine.threads; i++) {
    if (p.reads[i] > t.now.Clock(i)) Race("write after a read", i);
  }
  p.writer = t.id;
  p.write_clock = t.now.Clock(t.id);
}

}  // namespace weft::model
