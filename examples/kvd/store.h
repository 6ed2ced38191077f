// Store: keys, their values, and when they expire.
//
// The keys are spread over shards, each a hash table under a lock of its own. A command locks the
// shards of all of its keys (Access), in ascending order, so that it happens at once as in Redis,
// and no two commands wait for each other in a ring.
//
// Expiry, as in Redis, is by the wall clock, in milliseconds. A key whose time has passed is not
// found any more, and removed when somebody looks for it. Those that nobody looks for are removed
// by the sweeper, one goroutine:
//   1. Each shard keeps its keys that expire in order of time.
//   2. The sweeper sleeps on a timer until the first of all. `next_sweep_ms` tells when that is.
//   3. It sets next_sweep_ms to "never" and visits each shard: removes what has expired, notes
//      the shard's next time. Then it sets the timer to the first of these.
//   4. Who sets an earlier time than next_sweep_ms, after it has given the shard back, sets the
//      timer anew.
// No expiry is forgotten: an entry that came into its shard before the visit at 3 is noted there.
// One that came after it was entered under the shard's lock after the sweeper had it, so that who
// entered it sees "never" at 4, or what somebody has set since.
// While no key expires the timer is not set, and nobody wakes up.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "kvd/blob.h"
#include "weft/context.h"
#include "weft/mutex.h"
#include "weft/time.h"

namespace kvd {

inline constexpr int64_t kNever = INT64_MAX;

// Milliseconds since 1970.
int64_t WallClock_ms();

// A key that is looked for, with its hash.
struct Key {
  explicit Key(std::string_view key_text);

  std::string_view text;
  size_t hash;
};

class Store {
 public:
  struct Entry {
    Blob value;
    int64_t expires_ms = kNever;  // live until then, and in that millisecond
  };
  class Access;

  struct Size {
    size_t keys = 0;
    size_t expiring = 0;
    size_t expired = 0;  // ever
  };

  // To be made on a goroutine.
  Store() = default;

  // Counted shard by shard; keys that have expired and have not been removed count.
  Size Count();
  // Removes all keys, shard by shard.
  void Clear();
  // The sweeper. Returns when `stop` is done.
  void Sweep(const weft::Context& stop);

 private:
  static constexpr size_t kShards = 64;  // chosen: many more than CPUs, and a mask fits a word

  struct Hash {
    using is_transparent = void;
    size_t operator()(const Key& key) const { return key.hash; }
    size_t operator()(const Blob& key) const { return Key(key.view()).hash; }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(const Blob& a, const Blob& b) const { return a.view() == b.view(); }
    bool operator()(const Blob& a, const Key& b) const { return a.view() == b.text; }
    bool operator()(const Key& a, const Blob& b) const { return a.text == b.view(); }
  };
  using Table = absl::flat_hash_map<Blob, Entry, Hash, Equal>;
  struct Sooner {
    using Item = std::pair<int64_t, Blob>;  // expires_ms, key
    bool operator()(const Item& a, const Item& b) const {
      if (a.first != b.first) return a.first < b.first;
      return a.second.address() < b.second.address();  // a shard has each key once
    }
  };
  using Expiring = absl::btree_set<Sooner::Item, Sooner>;

  struct alignas(64) Shard {
    weft::Mutex mutex;
    Table table;        // under mutex, as all else
    Expiring expiring;  // of the table's keys those that expire
    size_t expired = 0;
  };

  // The table's hash uses the low bits.
  static size_t ShardOf(const Key& key) { return key.hash >> (64 - std::countr_zero(kShards)); }
  static void Remove(Shard& shard, Table::iterator where);
  int64_t SweepShard(Shard& shard);
  void SweepAt(int64_t when_ms);

  Shard shards_[kShards];
  weft::Mutex sweep_mutex_;
  std::atomic<int64_t> next_sweep_ms_{kNever};  // written under sweep_mutex_
  weft::Timer sweep_timer_{absl::InfiniteDuration()};
};

// Holds the shards of some keys. What it returns is good until it ends; it must not outlive the
// command, and nothing may block while it lives.
class Store::Access {
 public:
  Access(Store& store, const Key& key);
  Access(Store& store, std::span<const Key> keys);
  ~Access();
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;

  // Null when there is no such key or it has expired.
  Entry* Find(const Key& key);
  // Sets the value and the expiry of a key, which may be there or not.
  void Put(const Key& key, Blob value, int64_t expires_ms);
  // Sets the expiry of a key that Find has found.
  void SetExpiry(const Key& key, Entry* entry, int64_t expires_ms);
  // False: there was no such key.
  bool Remove(const Key& key);

  // The wall clock, the same for the whole command.
  int64_t Now_ms() {
    if (now_ms_ == 0) now_ms_ = WallClock_ms();
    return now_ms_;
  }

 private:
  Shard& ShardFor(const Key& key) { return store_.shards_[ShardOf(key)]; }
  Table::iterator Locate(const Key& key);

  Store& store_;
  uint64_t locked_ = 0;        // a bit for each shard
  int64_t first_ms_ = kNever;  // the earliest expiry that was set
  int64_t now_ms_ = 0;
};

}  // namespace kvd
