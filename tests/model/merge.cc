#include "tests/model/merge.h"

#include <cstdlib>
#include <memory>
#include <utility>

namespace weft::model {

namespace {

// Tables last longer than the runs that fill them, so they are not on a run's heap.
struct Freer {
  void operator()(void* p) const { free(p); }
};
template <class T>
using Array = std::unique_ptr<T[], Freer>;
template <class T>
Array<T> MakeArray(uint64_t size) {
  T* p = static_cast<T*>(calloc(size, sizeof(T)));
  if (p == nullptr) abort();
  return Array<T>(p);
}

// Bounds left: 0 .. 3 preemptions, 0 .. 3 stale loads, a bit for each pair. A search with higher
// bounds merges once it has come down to these.
constexpr int kLevels = 4;

constexpr uint16_t Bit(int preemptions, int stale) {
  return static_cast<uint16_t>(1u << (preemptions * kLevels + stale));
}

// Pairs with as much of both.
constexpr uint16_t AsMuch(int preemptions, int stale) {
  uint16_t bits = 0;
  for (int p = preemptions; p < kLevels; p++) {
    for (int s = stale; s < kLevels; s++) bits |= Bit(p, s);
  }
  return bits;
}

// Open addressing, at most half full; a key of 0 is none.
struct Table {
  Array<uint64_t> keys;
  Array<uint16_t> values;
  uint64_t size = 0;
  uint64_t used = 0;

  explicit Table(uint64_t first_size)
      : keys(MakeArray<uint64_t>(first_size)),
        values(MakeArray<uint16_t>(first_size)),
        size(first_size) {}

  uint64_t Find(uint64_t key) const {
    uint64_t i = key & (size - 1);
    while (keys[i] != 0 && keys[i] != key) i = (i + 1) & (size - 1);
    return i;
  }
  void Grow() {
    Table larger(size * 2);
    for (uint64_t i = 0; i < size; i++) {
      if (keys[i] == 0) continue;
      const uint64_t at = larger.Find(keys[i]);
      larger.keys[at] = keys[i];
      larger.values[at] = values[i];
    }
    larger.used = used;
    *this = std::move(larger);
  }
  uint16_t& ValueOf(uint64_t key) {
    uint64_t at = Find(key);
    if (keys[at] != 0) return values[at];
    if (used * 2 >= size) {
      Grow();
      at = Find(key);
    }
    used++;
    keys[at] = key;
    return values[at];
  }
};

constexpr uint64_t kFirstSize = 1 << 12;
Table states(kFirstSize);
Table shared(kFirstSize);

}  // namespace

void ForgetStates() {
  states = Table(kFirstSize);
}

bool SeenBefore(uint64_t state, int preemptions_left, int stale_left) {
  if (preemptions_left >= kLevels || stale_left >= kLevels) return false;
  uint16_t& left = states.ValueOf(state | 1);
  if ((left & AsMuch(preemptions_left, stale_left)) != 0) return true;
  left |= Bit(preemptions_left, stale_left);
  return false;
}

void ForgetShared() {
  shared = Table(kFirstSize);
}

Users UsersOf(uint64_t identity) {
  const uint16_t bits = shared.values[shared.Find(Mixed(identity, 1) | 1)];
  return {static_cast<uint8_t>(bits), static_cast<uint8_t>(bits >> 8)};
}

void AddUsers(uint64_t identity, Users users) {
  shared.ValueOf(Mixed(identity, 1) | 1) |= static_cast<uint16_t>(users.all | users.writers << 8);
}

}  // namespace weft::model
