// The seam's atomics as the explorer has them: each operation is a step of the schedule, and a
// load returns any value that its order allows. Found by its include path, in place of the header
// of the same name.
//
// Between runs (while harnesses and long-lived objects are made) operations act on the memory
// itself. In a run the values live in the engine's list of stores, and the memory keeps what the
// object was made with: so a long-lived object begins each run as it was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tests/model/site.h"

namespace weft::model {

// Threads that touch a location, and write it; bits.
struct Users {
  uint8_t all = 0;
  uint8_t writers = 0;
};

// Where a run keeps a location; valid while `run` is the engine's.
struct Location {
  uint32_t run = 0;
  bool shared = false;     // by what is known of it: see merge.h
  bool destroyed = false;  // not shared
  Users users;             // not shared: of this run
  uint64_t value = 0;      // not shared
  uint8_t lane = 0;        // shared
  uint8_t maker = 0;       // the thread that made the object, its clock then, and the run
  uint16_t made = 0;
  uint32_t made_run = 0;
  uint32_t identity = 0;  // of an object made in this run
};

// 0: between runs.
extern uint32_t current_run;

enum class Rmw : uint8_t { kAdd, kExchange, kOr, kAnd };

void NoteMade(Location& location);
void NoteDestroyed(Location& location);
// The first operation of a run on it.
void Register(Location& location, const char* name, uint64_t value);
uint64_t DoLoad(Location& location, Site& site);
void DoStore(Location& location, Site& site, uint64_t value);
uint64_t DoRmw(Location& location, Site& site, Rmw what, uint64_t operand, uint64_t mask);
bool DoCompareExchange(Location& location, Site& site, uint64_t& expected, uint64_t desired);
void DoFence(Site& site);

// ---- Plain fields: only happens-before protects them. ----

using Clocks [[gnu::vector_size(16)]] = uint16_t;  // one lane for each thread

struct PlainState {
  uint32_t run = 0;
  uint8_t writer = 0;
  bool destroyed = false;
  uint16_t write_clock = 0;
  alignas(16) uint16_t reads[8] = {};
};
void PlainMade(PlainState& state);
void PlainDestroyed(PlainState& state);
void PlainRead(PlainState& state);
void PlainWrite(PlainState& state);
// A read that was made when the thread's clocks were `stamp`, and counts now.
Clocks StampReads();
void CommitRead(PlainState& state, const Clocks& stamp);

}  // namespace weft::model

namespace weft::os {

template <size_t N>
struct SiteName {
  char text[N];
  consteval SiteName(const char (&name)[N]) {  // NOLINT(google-explicit-constructor)
    for (size_t i = 0; i < N; i++) text[i] = name[i];
  }
};

template <SiteName Name>
inline model::Site kRelaxed{Name.text, model::MemoryOrder::kRelaxed};
template <SiteName Name>
inline model::Site kAcquire{Name.text, model::MemoryOrder::kAcquire};
template <SiteName Name>
inline model::Site kRelease{Name.text, model::MemoryOrder::kRelease};
template <SiteName Name>
inline model::Site kAcqRel{Name.text, model::MemoryOrder::kAcqRel};
template <SiteName Name>
inline model::Site kSeqCst{Name.text, model::MemoryOrder::kSeqCst};

using Order = model::Site&;

inline constexpr bool kPlainAtomics = false;

template <class T>
class Atomic {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);

 public:
  constexpr Atomic() : Atomic(T()) {}
  constexpr explicit Atomic(T value) : memory_(value) {
    if (!std::is_constant_evaluated() && model::current_run != 0) model::NoteMade(location_);
  }
  constexpr ~Atomic() {
    if (!std::is_constant_evaluated() && model::current_run != 0) model::NoteDestroyed(location_);
  }
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  T Load(Order site) const {
    if (model::current_run == 0) return memory_;
    return Value(model::DoLoad(Here(site), site));
  }
  void Store(T value, Order site) {
    if (model::current_run == 0) {
      memory_ = value;
    } else {
      model::DoStore(Here(site), site, Bits(value));
    }
  }
  T Exchange(T value, Order site) { return Modify(model::Rmw::kExchange, value, site); }
  T FetchAdd(T value, Order site) { return Modify(model::Rmw::kAdd, value, site); }
  T FetchSub(T value, Order site) {
    return Modify(model::Rmw::kAdd, static_cast<T>(T() - value), site);
  }
  T FetchOr(T value, Order site) { return Modify(model::Rmw::kOr, value, site); }
  T FetchAnd(T value, Order site) { return Modify(model::Rmw::kAnd, value, site); }

  bool CompareExchange(T& expected, T desired, Order site) {
    if (model::current_run == 0) {
      if (memory_ != expected) {
        expected = memory_;
        return false;
      }
      memory_ = desired;
      return true;
    }
    uint64_t seen = Bits(expected);
    const bool done = model::DoCompareExchange(Here(site), site, seen, Bits(desired));
    if (!done) expected = Value(seen);
    return done;
  }

  // For futexes.
  model::Location& Here(model::Site& site) const {
    if (location_.run != model::current_run) model::Register(location_, site.name, Bits(memory_));
    return location_;
  }

 private:
  static constexpr uint64_t kMask =
      sizeof(T) == 8 ? ~uint64_t{0} : (uint64_t{1} << 8 * (sizeof(T) & 7)) - 1;
  static uint64_t Bits(T value) {
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(value));
    return bits;
  }
  static T Value(uint64_t bits) {
    T value;
    memcpy(&value, &bits, sizeof(value));
    return value;
  }
  T Modify(model::Rmw what, T operand, Order site) {
    if (model::current_run == 0) return ModifyMemory(what, operand);
    return Value(model::DoRmw(Here(site), site, what, Bits(operand), kMask));
  }
  T ModifyMemory(model::Rmw what, T operand) {
    const T before = memory_;
    uint64_t bits = Bits(operand);
    if (what == model::Rmw::kAdd) bits = Bits(before) + bits;
    if (what == model::Rmw::kOr) bits = Bits(before) | bits;
    if (what == model::Rmw::kAnd) bits = Bits(before) & bits;
    memory_ = Value(bits & kMask);
    return before;
  }

  T memory_;
  mutable model::Location location_;
};

// A field that no atomic operation touches: the explorer reports accesses that nothing orders.
template <class T>
class Plain {
 public:
  constexpr Plain() : Plain(T()) {}
  constexpr Plain(T value) : value_(value) { Made(); }  // NOLINT(google-explicit-constructor)
  Plain(const Plain& other) : value_(other) { Made(); }
  constexpr ~Plain() {
    if (!std::is_constant_evaluated() && model::current_run != 0) model::PlainDestroyed(state_);
  }
  Plain& operator=(const Plain& other) { return *this = static_cast<T>(other); }
  Plain& operator=(T value) {
    if (model::current_run != 0) model::PlainWrite(state_);
    value_ = value;
    return *this;
  }
  operator T() const {  // NOLINT(google-explicit-constructor)
    if (model::current_run != 0) model::PlainRead(state_);
    return value_;
  }
  T operator->() const { return *this; }
  Plain& operator+=(T by) { return *this = static_cast<T>(static_cast<T>(*this) + by); }
  Plain& operator-=(T by) { return *this = static_cast<T>(static_cast<T>(*this) - by); }
  T operator++() { return *this += 1; }
  T operator--() { return *this -= 1; }
  T operator++(int) {
    const T before = *this;
    *this = static_cast<T>(before + 1);
    return before;
  }
  T operator--(int) {
    const T before = *this;
    *this = static_cast<T>(before - 1);
    return before;
  }

 private:
  constexpr void Made() {
    if (!std::is_constant_evaluated() && model::current_run != 0) model::PlainMade(state_);
  }

  T value_;
  mutable model::PlainState state_;
};

// See the product's header: its write and, once committed, its read are those of a plain field.
using ReadStamp = model::Clocks;
inline ReadStamp StampReads() {
  return model::current_run != 0 ? model::StampReads() : ReadStamp{};
}
template <class T>
class Speculative : public Atomic<T> {
 public:
  using Atomic<T>::Atomic;
  void Store(T value, Order site) {
    Atomic<T>::Store(value, site);
    if (model::current_run != 0) model::PlainWrite(state_);
  }
  void Commit(const ReadStamp& stamp) const {
    if (model::current_run != 0) model::CommitRead(state_, stamp);
  }

 private:
  mutable model::PlainState state_;
};

inline void Fence(Order site) {
  if (model::current_run != 0) model::DoFence(site);
}

inline void LightFence() {}

constexpr int Scaled(int here [[maybe_unused]], int explored) {
  return explored;
}

}  // namespace weft::os
