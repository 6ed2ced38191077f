// The memory model: what a load may return, where a store may go; see model.h.
#include <cstdio>
#include <utility>

#include "tests/model/views.h"

namespace weft::model {

namespace {

long long Shown(uint64_t value) {
  return static_cast<long long>(value);
}

inline Message* NewMessage(uint64_t value) {
  if (engine.messages == kMostMessages) Fail("limit", "more than %u stores", kMostMessages);
  Message* m = &engine.message[engine.messages++];
  m->value = value;
  m->rmw = false;
  m->hash = engine.running->hash;
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
    t.now.vector[last] = t.unfenced.vector[last] = t.released.vector[last] = Vector{};
  }
  engine.seq_cst.vector[last] = Vector{};
}

inline uint64_t PairHash(const Message& before, const Message& m) {
  return Mixed(before.hash + m.place, m.hash);
}

// The place of the oldest store that the running thread may still read or overtake.
inline uint16_t OldestAllowed(int lane, MemoryOrder order) {
  const uint16_t known = engine.running->now.At(lane);
  if (order != MemoryOrder::kSeqCst) return known;
  return engine.seq_cst.At(lane) > known ? engine.seq_cst.At(lane) : known;
}

inline void NoteSeqCst(int lane, MemoryOrder order, uint16_t place) {
  if (order == MemoryOrder::kSeqCst && place > engine.seq_cst.At(lane)) {
    engine.seq_cst_hash += PlaceHash(lane, place) - PlaceHash(lane, engine.seq_cst.At(lane));
    engine.seq_cst.At(lane) = place;
  }
}

// May this operation act on another store than the newest? One in four does in a random run, if it
// can.
inline bool MayBeStale() {
  return engine.stale_left > 0 && (!engine.random || Random() % 4 == 0);
}

// 0: the newest; 1 .. n: one of `n` others, which counts as a stale load.
int PickStale(Kind kind, int n) {
  const int pick = Record(kind, n + 1, RandomBelow(n + 1), nullptr);
  if (pick > 0) SpendStale();
  return pick;
}

// A store may take an earlier place in modification order than those already made, if its thread
// does not know of them: a relaxed store that another thread's later store overtakes (2+2W and its
// kin). So may a read-modify-write, which then reads what it is put on. Returns the message to put
// it under, or null for the newest place.
Message* ChoosePlace(int lane, MemoryOrder order) {
  const uint16_t known = OldestAllowed(lane, order);
  Message* m = &Newest(lane);
  if (m->place == known || !MayBeStale()) return nullptr;
  Message* option[16];
  int n = 0;
  for (; m->place > known && n < 15; m = &engine.message[m->previous]) {
    const uint16_t below = engine.message[m->previous].place;
    if (!m->rmw && m->place - below > 1) option[n++] = m;
  }
  if (n == 0) return nullptr;
  const int pick = PickStale(Kind::kPlace, n);
  if (pick == 0) return nullptr;
  return option[pick - 1];
}

void TakePlace(int lane, Message* m, Message* above) {
  const uint32_t index = static_cast<uint32_t>(m - engine.message);
  if (above == nullptr) [[likely]] {
    const uint16_t newest = Newest(lane).place;
    if (newest > 65535 - kGap) Fail("limit", "too many stores to %s", engine.lane[lane].name);
    m->previous = engine.lane[lane].newest;
    m->place = static_cast<uint16_t>(newest + kGap);
    engine.order_hash += PairHash(Newest(lane), *m);
    engine.lane[lane].newest = index;
    return;
  }
  const Message& below = engine.message[above->previous];
  m->place = static_cast<uint16_t>(below.place + (above->place - below.place) / 2);
  engine.order_hash += PairHash(below, *m) + PairHash(*m, *above) - PairHash(below, *above);
  m->previous = above->previous;
  above->previous = index;
  if (engine.trace) Trace("  (overtaken: placed before := %lld)", Shown(above->value));
}

void Publish(int lane, MemoryOrder order, uint64_t value, const Message* read, Message* above) {
  Thread& t = *engine.running;
  Mix(engine.lane[lane].identity);
  Message* m = NewMessage(value);
  TakePlace(lane, m, above);
  const uint16_t place = m->place;
  m->rmw = read != nullptr;
  Copy(&m->view, Releases(order) ? t.now : t.released);
  // A release sequence goes on. What was acquired is in `now`.
  if (read != nullptr && order < MemoryOrder::kAcqRel) Join(&m->view, read->view, read->vectors);
  NoteSeqCst(lane, order, place);
  m->view.At(lane) = t.now.At(lane) = place;
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
  Mix(m.hash);
  NoteRead(t, lane, m);
  Join(Acquires(order) ? &t.now : &t.unfenced, m.view, m.vectors);
  t.now.At(lane) = m.place;
}

inline void CheckMade(const Location& location, const char* name) {
  const bool here = location.made_run == current_run;
  if (here && location.made > engine.running->now.Clock(location.maker)) [[unlikely]] {
    Fail("data race", "%s is used before its making is visible", name);
  }
}

inline int Enter(const Location& location) {
  const int lane = location.lane;
  if (engine.lane[lane].destroyed) [[unlikely]] {
    Fail("use after free", "%s was touched after its end", engine.lane[lane].name);
  }
  CheckMade(location, engine.lane[lane].name);
  return lane;
}

// The message that a read-modify-write reads.
inline const Message& Under(int lane, const Message* above) {
  return engine.message[above != nullptr ? above->previous : engine.lane[lane].newest];
}

}  // namespace

void ResetMemory() {
  engine.messages = 0;
  engine.lanes = 0;
  engine.vectors = 1;
  engine.seq_cst.vector[0] = Vector{};
  engine.order_hash = engine.seq_cst_hash = 0;
}

// ---- Objects ----

void NoteMade(Location& location) {
  location.run = 0;
  location.made_run = current_run;
  location.maker = static_cast<uint8_t>(engine.running->id);
  location.made = engine.running->now.Clock(engine.running->id);
  location.identity = static_cast<uint32_t>(engine.running->id) << 24 | ++engine.running->makes;
}

namespace {
uint64_t IdentityOf(const Location& location) {
  return location.made_run == current_run ? location.identity
                                          : reinterpret_cast<uint64_t>(&location);
}

[[noreturn]] void Learn(const Location& location, Users users) {
  AddUsers(IdentityOf(location), users);
  engine.learnt = true;
  LeaveRun();
}

inline Users Self(bool writes) {
  const uint8_t self = static_cast<uint8_t>(1u << engine.running->id);
  return {self, writes ? self : uint8_t{0}};
}

// An operation on a location that is not shared.
void Touch(Location& location, bool writes, bool changes) {
  if (location.destroyed) [[unlikely]] {
    Fail("use after free", "a location was touched after its end");
  }
  CheckMade(location, "a location");
  if (!engine.started) return;
  Step();
  const Users self = Self(writes);
  Users& users = location.users;
  users.all |= self.all;
  users.writers |= self.writers;
  if (changes) engine.running->wrote = true;
  if (users.writers != 0 && (users.all & (users.all - 1)) != 0) Learn(location, users);
}

// Before one on a location that is: another may go first, if it can tell.
inline void PointAt(const Location& location, bool writes) {
  if (!engine.started) return;
  const Users self = Self(writes);
  const Users& users = engine.lane[location.lane].users;
  if ((self.all & ~users.all) != 0 || (self.writers & ~users.writers) != 0) Learn(location, self);
  if (((writes ? users.all : users.writers) & ~self.all & ~engine.done) != 0) {
    Point();
  } else {
    Step();
  }
}

}  // namespace

// The end is a write, of whoever ends it.
void NoteDestroyed(Location& location) {
  if (location.run != current_run) {  // nobody has touched it
    location.run = current_run;
    location.shared = false;
    location.users = {};
    location.destroyed = true;
  } else if (location.shared) {
    const Users self = Self(true);
    if (engine.started && (self.writers & ~engine.lane[location.lane].users.writers) != 0) {
      Learn(location, self);
    }
    engine.lane[location.lane].destroyed = true;
  } else {
    Touch(location, true, true);
    location.destroyed = true;
  }
}

namespace {
uint64_t Applied(Rmw what, uint64_t old, uint64_t operand, uint64_t mask) {
  switch (what) {
    case Rmw::kAdd:
      return (old + operand) & mask;
    case Rmw::kOr:
      return (old | operand) & mask;
    case Rmw::kAnd:
      return (old & operand) & mask;
    case Rmw::kExchange:
      break;
  }
  return operand & mask;
}
}  // namespace

void Register(Location& location, const char* name, uint64_t value) {
  CheckMade(location, name);
  location.run = current_run;
  const Users users = engine.replays ? Users{0xff, 0xff} : UsersOf(IdentityOf(location));
  location.shared = users.all != 0;
  if (!location.shared) {
    location.value = value;
    location.users = {};
    location.destroyed = false;
    return;
  }
  if (engine.lanes == (engine.vectors - 1) * kVectorLanes) Widen();
  const int lane = engine.lanes++;
  location.lane = static_cast<uint8_t>(lane);
  Message* m = NewMessage(value);
  const uint32_t index = static_cast<uint32_t>(m - engine.message);
  m->previous = index;
  m->place = kGap;
  m->vectors = 0;
  m->hash = IdentityOf(location);
  engine.lane[lane] = {name, index, false, users, m->hash};
  // Everybody knows it: who may touch it at all has it from its maker.
  for (int i = 0; i < engine.threads; i++) {
    engine.thread[i].now.At(lane) = kGap;
    engine.thread[i].unfenced.At(lane) = engine.thread[i].released.At(lane) = 0;
    engine.thread[i].read_round[lane] = 0;
  }
}

// ---- Operations ----

uint64_t DoLoad(Location& location, Site& site) {
  site.kinds |= kIsLoad;
  if (!location.shared) {
    Touch(location, false, false);
    return location.value;
  }
  PointAt(location, false);
  const int lane = Enter(location);
  Thread& t = *engine.running;
  const MemoryOrder order = site.order;
  const Message* m = &Newest(lane);
  const uint16_t oldest = OldestAllowed(lane, order);
  if (m->place != oldest && MayBeStale()) {
    int older = 0;
    for (const Message* k = m; k->place > oldest; k = &engine.message[k->previous]) older++;
    for (int i = PickStale(Kind::kRead, older); i > 0; i--) m = &engine.message[m->previous];
  }
  NoteSeqCst(lane, order, m->place);
  Take(t, lane, order, *m);
  if (engine.trace) {
    Trace("%lld          load %s %s%s", Shown(m->value), OrderName(order), site.name,
          m != &Newest(lane) ? "  STALE" : "");
  }
  return m->value;
}

void DoStore(Location& location, Site& site, uint64_t value) {
  site.kinds |= kIsStore;
  if (!location.shared) {
    Touch(location, true, true);
    location.value = value;
    return;
  }
  PointAt(location, true);
  const int lane = Enter(location);
  if (engine.trace) Trace("-> %lld  store %s %s", Shown(value), OrderName(site.order), site.name);
  Publish(lane, site.order, value, nullptr, ChoosePlace(lane, site.order));
}

uint64_t DoRmw(Location& location, Site& site, Rmw what, uint64_t operand, uint64_t mask) {
  site.kinds |= kIsRmw;
  if (!location.shared) {
    const uint64_t value = Applied(what, location.value, operand, mask);
    Touch(location, true, value != location.value);
    return std::exchange(location.value, value);
  }
  PointAt(location, true);
  const int lane = Enter(location);
  Message* above = ChoosePlace(lane, site.order);
  const Message& m = Under(lane, above);
  Thread& t = *engine.running;
  Take(t, lane, site.order, m);
  const uint64_t value = Applied(what, m.value, operand, mask);
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
  const uint16_t oldest = OldestAllowed(lane, order);
  if (Newest(lane).place == oldest || !MayBeStale()) return nullptr;
  const Message* option[16];
  int n = 0;
  for (const Message* m = &Newest(lane); m->place > oldest && n < 15;) {
    m = &engine.message[m->previous];
    if (m->value != expected) option[n++] = m;
  }
  if (n == 0) return nullptr;
  const int pick = PickStale(Kind::kRead, n);
  if (pick == 0) return nullptr;
  return option[pick - 1];
}
}  // namespace

bool DoCompareExchange(Location& location, Site& site, uint64_t& expected, uint64_t desired) {
  site.kinds |= kIsRmw;
  if (!location.shared) {
    const bool fits = location.value == expected;
    Touch(location, fits, fits && desired != expected);
    (fits ? location.value : expected) = fits ? desired : location.value;
    return fits;
  }
  PointAt(location, true);
  const int lane = Enter(location);
  const MemoryOrder order = site.order;
  const Message* stale = ChooseStaleFailure(lane, order, expected);
  Message* above = stale == nullptr ? ChoosePlace(lane, order) : nullptr;
  const Message& m = stale == nullptr ? Under(lane, above) : *stale;
  Thread& t = *engine.running;
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

int LaneOf(Location& location) {
  if (!location.shared) {
    Touch(location, true, false);
    Learn(location, Self(true));
  }
  return location.lane;
}

uint64_t ReadNewest(Location& location) {
  const int lane = Enter(location);
  const Message& m = Newest(lane);
  Take(*engine.running, lane, MemoryOrder::kRelaxed, m);
  return m.value;
}

}  // namespace weft::model
