// Commands on keys and their expiry.
#include <optional>
#include <vector>

#include "kvd/commands.h"
#include "kvd/request_parser.h"

namespace kvd {

namespace {

std::vector<Key> KeysOf(const Call& call) {
  return {call.args.begin() + 1, call.args.end()};
}

struct ExpireConditions {
  bool none = false;     // NX: the key has no expiry
  bool some = false;     // XX: it has one
  bool greater = false;  // GT: the new one is later; no expiry is the latest
  bool less = false;     // LT: it is earlier

  bool Hold(int64_t old_ms, int64_t new_ms) const {
    if (none && old_ms != kNever) return false;
    if (some && old_ms == kNever) return false;
    if (greater && new_ms <= old_ms) return false;
    return !less || new_ms < old_ms;
  }
};

// The error, if there is one.
std::string ParseConditions(std::span<const std::string_view> words, ExpireConditions* conditions) {
  for (std::string_view word : words) {
    if (IsWord(word, "nx")) {
      conditions->none = true;
    } else if (IsWord(word, "xx")) {
      conditions->some = true;
    } else if (IsWord(word, "gt")) {
      conditions->greater = true;
    } else if (IsWord(word, "lt")) {
      conditions->less = true;
    } else {
      return std::string("ERR Unsupported option ").append(word);
    }
  }
  if (conditions->none && (conditions->some || conditions->greater || conditions->less)) {
    return "ERR NX and XX, GT or LT options at the same time are not compatible";
  }
  if (conditions->greater && conditions->less) {
    return "ERR GT and LT options at the same time are not compatible";
  }
  return "";
}

// What is left of a key's life: -2: no such key, -1: no end.
int64_t LeftOf(Call& call) {
  const Key key(call.args[1]);
  Store::Access access(call.server.store, key);
  const Store::Entry* entry = access.Find(key);
  if (entry == nullptr) return -2;
  if (entry->expires_ms == kNever) return -1;
  return entry->expires_ms - access.Now_ms();
}

}  // namespace

void Delete(Call& call) {
  int64_t removed = 0;
  {
    const std::vector<Key> keys = KeysOf(call);
    Store::Access access(call.server.store, keys);
    for (const Key& key : keys) removed += access.Remove(key) ? 1 : 0;
  }
  call.reply.Integer(removed);
}

void Exists(Call& call) {
  int64_t found = 0;
  {
    const std::vector<Key> keys = KeysOf(call);
    Store::Access access(call.server.store, keys);
    for (const Key& key : keys) found += access.Find(key) != nullptr ? 1 : 0;
  }
  call.reply.Integer(found);
}

void Type(Call& call) {
  const Key key(call.args[1]);
  bool found = false;
  {
    Store::Access access(call.server.store, key);
    found = access.Find(key) != nullptr;
  }
  call.reply.Status(found ? "string" : "none");
}

void Expire(Call& call) {
  ExpireConditions conditions;
  if (std::string error = ParseConditions(call.args.subspan(3), &conditions); !error.empty()) {
    return call.reply.Error(error);
  }
  const std::optional<int64_t> seconds = ParseInteger(call.args[2]);
  if (!seconds) return call.reply.Error(kNotAnInteger);
  int64_t time_ms = 0;
  int64_t expires_ms = 0;
  if (__builtin_mul_overflow(*seconds, 1000, &time_ms) ||
      __builtin_add_overflow(time_ms, WallClock_ms(), &expires_ms)) {
    return call.reply.Error(InvalidExpireTime("expire"));
  }
  const Key key(call.args[1]);
  bool done = false;
  {
    Store::Access access(call.server.store, key);
    Store::Entry* entry = access.Find(key);
    done = entry != nullptr && conditions.Hold(entry->expires_ms, expires_ms);
    if (done && time_ms <= 0) {
      access.Remove(key);
    } else if (done) {
      access.SetExpiry(key, entry, expires_ms);
    }
  }
  call.reply.Integer(done ? 1 : 0);
}

void Persist(Call& call) {
  const Key key(call.args[1]);
  bool done = false;
  {
    Store::Access access(call.server.store, key);
    Store::Entry* entry = access.Find(key);
    done = entry != nullptr && entry->expires_ms != kNever;
    if (done) access.SetExpiry(key, entry, kNever);
  }
  call.reply.Integer(done ? 1 : 0);
}

void TimeToLive(Call& call) {
  const int64_t left_ms = LeftOf(call);
  call.reply.Integer(left_ms < 0 ? left_ms : left_ms / 1000 + (left_ms % 1000 >= 500 ? 1 : 0));
}

void TimeToLiveMs(Call& call) {
  call.reply.Integer(LeftOf(call));
}

void CountKeys(Call& call) {
  call.reply.Integer(static_cast<int64_t>(call.server.store.Count().keys));
}

void FlushAll(Call& call) {
  const bool known =
      call.args.size() == 1 ||
      (call.args.size() == 2 && (IsWord(call.args[1], "sync") || IsWord(call.args[1], "async")));
  if (!known) return call.reply.Error(kSyntaxError);
  call.server.store.Clear();
  call.reply.Status("OK");
}

}  // namespace kvd
