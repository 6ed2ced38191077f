#include "kvd/store.h"

#include <algorithm>
#include <ctime>

#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "weft/go.h"

namespace kvd {

namespace {
// Chosen: keys that expire one by one are removed together; nobody can tell, since they are not
// found any more.
constexpr int64_t kSweepPause_ms = 10;
// Chosen: a shard is not held for longer than about 10 us.
constexpr int kSweepAtOnce = 64;
}  // namespace

int64_t WallClock_ms() {
  std::timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

Key::Key(std::string_view key_text)
    : text(key_text), hash(absl::HashOf(absl::string_view(key_text.data(), key_text.size()))) {}

// ---- The whole ----

Store::Size Store::Count() {
  Size size;
  for (Shard& shard : shards_) {
    weft::MutexLock lock(shard.mutex);
    size.keys += shard.table.size();
    size.expiring += shard.expiring.size();
    size.expired += shard.expired;
  }
  return size;
}

void Store::Clear() {
  for (Shard& shard : shards_) {
    // Declared before the lock, so destroyed after it: nobody waits while memory is freed.
    Table table;
    Expiring expiring;
    weft::MutexLock lock(shard.mutex);
    table.swap(shard.table);
    expiring.swap(shard.expiring);
  }
}

void Store::Remove(Shard& shard, Table::iterator where) {
  if (where->second.expires_ms != kNever) {
    shard.expiring.erase({where->second.expires_ms, where->first});
  }
  shard.table.erase(where);
}

// ---- Expiry ----

// Step 4, and the end of 3.
void Store::SweepAt(int64_t when_ms) {
  // Ordered by the shard's lock; see the head of store.h.
  if (when_ms >= next_sweep_ms_.load(std::memory_order_relaxed)) return;
  weft::MutexLock lock(sweep_mutex_);
  if (when_ms >= next_sweep_ms_.load(std::memory_order_relaxed)) return;
  next_sweep_ms_.store(when_ms, std::memory_order_relaxed);
  const int64_t pause_ms = std::max(when_ms + 1 - WallClock_ms(), kSweepPause_ms);
  sweep_timer_.Reset(absl::Milliseconds(pause_ms));
}

void Store::Sweep(const weft::Context& stop) {
  while (sweep_timer_.Wait(stop).ok()) {
    {
      weft::MutexLock lock(sweep_mutex_);
      next_sweep_ms_.store(kNever, std::memory_order_relaxed);
    }
    int64_t next_ms = kNever;
    for (Shard& shard : shards_) next_ms = std::min(next_ms, SweepShard(shard));
    SweepAt(next_ms);
  }
}

// Removes what has expired; when the next one will.
int64_t Store::SweepShard(Shard& shard) {
  const int64_t now_ms = WallClock_ms();
  for (;;) {
    {
      weft::MutexLock lock(shard.mutex);
      for (int i = 0; i < kSweepAtOnce; i++) {
        if (shard.expiring.empty()) return kNever;
        const Sooner::Item first = *shard.expiring.begin();
        if (first.first >= now_ms) return first.first;
        shard.expired++;
        Remove(shard, shard.table.find(first.second));
      }
    }
    weft::Yield();
  }
}

// ---- Access ----

Store::Access::Access(Store& store, const Key& key)
    : store_(store), locked_(uint64_t{1} << ShardOf(key)) {
  ShardFor(key).mutex.Lock();
}

Store::Access::Access(Store& store, std::span<const Key> keys) : store_(store) {
  for (const Key& key : keys) locked_ |= uint64_t{1} << ShardOf(key);
  for (uint64_t left = locked_; left != 0; left &= left - 1) {
    store_.shards_[std::countr_zero(left)].mutex.Lock();
  }
}

Store::Access::~Access() {
  for (uint64_t left = locked_; left != 0; left &= left - 1) {
    store_.shards_[std::countr_zero(left)].mutex.Unlock();
  }
  if (first_ms_ != kNever) store_.SweepAt(first_ms_);
}

// The key's place, if it is there and has not expired.
Store::Table::iterator Store::Access::Locate(const Key& key) {
  Shard& shard = ShardFor(key);
  const Table::iterator where = shard.table.find(key, key.hash);
  if (where == shard.table.end()) return where;
  if (where->second.expires_ms == kNever || where->second.expires_ms >= Now_ms()) [[likely]] {
    return where;
  }
  shard.expired++;
  Store::Remove(shard, where);
  return shard.table.end();
}

Store::Entry* Store::Access::Find(const Key& key) {
  const Table::iterator where = Locate(key);
  return where == ShardFor(key).table.end() ? nullptr : &where->second;
}

void Store::Access::Put(const Key& key, Blob value, int64_t expires_ms) {
  Table& table = ShardFor(key).table;
  const Table::iterator where = table.lazy_emplace(
      key, [&key](const auto& construct) { construct(Blob(key.text), Entry{}); });
  where->second.value = std::move(value);
  SetExpiry(key, &where->second, expires_ms);
}

void Store::Access::SetExpiry(const Key& key, Entry* entry, int64_t expires_ms) {
  if (entry->expires_ms == expires_ms) [[likely]]
    return;
  Shard& shard = ShardFor(key);
  const Blob& stored = shard.table.find(key, key.hash)->first;
  if (entry->expires_ms != kNever) shard.expiring.erase({entry->expires_ms, stored});
  if (expires_ms != kNever) shard.expiring.insert({expires_ms, stored});
  entry->expires_ms = expires_ms;
  first_ms_ = std::min(first_ms_, expires_ms);
}

bool Store::Access::Remove(const Key& key) {
  const Table::iterator where = Locate(key);
  if (where == ShardFor(key).table.end()) return false;
  Store::Remove(ShardFor(key), where);
  return true;
}

}  // namespace kvd
