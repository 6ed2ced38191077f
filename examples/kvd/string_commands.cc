// Commands on values.
#include <charconv>
#include <optional>
#include <vector>

#include "kvd/commands.h"
#include "kvd/request_parser.h"

namespace kvd {

namespace {

struct SetOptions {
  bool only_new = false;       // NX
  bool only_existing = false;  // XX
  bool want_old = false;       // GET
  bool keep_ttl = false;       // KEEPTTL
  int64_t unit_ms = 0;         // 1000: EX, 1: PX, 0: neither
  std::string_view time;       // in that unit
};

// False: a syntax error. As in Redis an option may come twice.
bool ParseSetOptions(std::span<const std::string_view> words, SetOptions* options) {
  for (size_t i = 0; i < words.size(); i++) {
    const bool is_last = i + 1 == words.size();
    if (IsWord(words[i], "nx") && !options->only_existing) {
      options->only_new = true;
    } else if (IsWord(words[i], "xx") && !options->only_new) {
      options->only_existing = true;
    } else if (IsWord(words[i], "get")) {
      options->want_old = true;
    } else if (IsWord(words[i], "keepttl") && options->unit_ms == 0) {
      options->keep_ttl = true;
    } else if (IsWord(words[i], "ex") && !options->keep_ttl && options->unit_ms != 1 && !is_last) {
      options->unit_ms = 1000;
      options->time = words[++i];
    } else if (IsWord(words[i], "px") && !options->keep_ttl && options->unit_ms != 1000 &&
               !is_last) {
      options->unit_ms = 1;
      options->time = words[++i];
    } else {
      return false;
    }
  }
  return true;
}

// When a key set now expires; 0: the reply says why not.
int64_t ExpiryOf(const SetOptions& options, Call& call) {
  if (options.unit_ms == 0) return kNever;
  const std::optional<int64_t> time = ParseInteger(options.time);
  if (!time) {
    call.reply.Error(kNotAnInteger);
    return 0;
  }
  const int64_t now_ms = WallClock_ms();
  if (*time <= 0 || *time > (INT64_MAX - now_ms) / options.unit_ms) {
    call.reply.Error(InvalidExpireTime("set"));
    return 0;
  }
  return now_ms + *time * options.unit_ms;
}

void AnswerValue(Call& call, const Blob& value) {
  if (value) {
    call.reply.Bulk(value.view());
  } else {
    call.reply.Null();
  }
}

// Redis's addition: the value stays when the sum would not fit.
void Add(Call& call, int64_t amount) {
  const Key key(call.args[1]);
  int64_t sum = 0;
  std::string_view error;
  {
    Store::Access access(call.server.store, key);
    Store::Entry* entry = access.Find(key);
    const std::optional<int64_t> old =
        entry == nullptr ? std::optional<int64_t>(0) : ParseInteger(entry->value.view());
    if (!old) {
      error = kNotAnInteger;
    } else if (__builtin_add_overflow(*old, amount, &sum)) {
      error = "ERR increment or decrement would overflow";
    } else {
      char digits[24];
      char* const end = std::to_chars(digits, digits + sizeof(digits), sum).ptr;
      const int64_t expires_ms = entry == nullptr ? kNever : entry->expires_ms;
      access.Put(key, Blob({digits, static_cast<size_t>(end - digits)}), expires_ms);
    }
  }
  if (!error.empty()) return call.reply.Error(error);
  call.reply.Integer(sum);
}

}  // namespace

void Get(Call& call) {
  const Key key(call.args[1]);
  Blob value;
  {
    Store::Access access(call.server.store, key);
    if (const Store::Entry* entry = access.Find(key)) value = entry->value;
  }
  AnswerValue(call, value);
}

void Set(Call& call) {
  SetOptions options;
  if (call.args.size() > 3 && !ParseSetOptions(call.args.subspan(3), &options)) {
    return call.reply.Error(kSyntaxError);
  }
  int64_t expires_ms = ExpiryOf(options, call);
  if (expires_ms == 0) return;
  const Key key(call.args[1]);
  Blob value(call.args[2]);
  Blob old;
  bool done = false;
  {
    Store::Access access(call.server.store, key);
    const bool look =
        options.only_new || options.only_existing || options.want_old || options.keep_ttl;
    const Store::Entry* entry = look ? access.Find(key) : nullptr;
    if (entry != nullptr) old = entry->value;
    if (entry != nullptr && options.keep_ttl) expires_ms = entry->expires_ms;
    done = !(options.only_new && entry != nullptr) && !(options.only_existing && entry == nullptr);
    if (done) access.Put(key, std::move(value), expires_ms);
  }
  if (options.want_old) return AnswerValue(call, old);
  if (!done) return call.reply.Null();
  call.reply.Status("OK");
}

void MultiGet(Call& call) {
  std::vector<Key> keys(call.args.begin() + 1, call.args.end());
  std::vector<Blob> values(keys.size());
  {
    Store::Access access(call.server.store, keys);
    for (size_t i = 0; i < keys.size(); i++) {
      if (const Store::Entry* entry = access.Find(keys[i])) values[i] = entry->value;
    }
  }
  call.reply.Array(values.size());
  for (const Blob& value : values) AnswerValue(call, value);
}

void MultiSet(Call& call) {
  if (call.args.size() % 2 == 0) return call.reply.Error(WrongArity("mset"));
  std::vector<Key> keys;
  std::vector<Blob> values;
  for (size_t i = 1; i < call.args.size(); i += 2) {
    keys.emplace_back(call.args[i]);
    values.emplace_back(call.args[i + 1]);
  }
  {
    Store::Access access(call.server.store, keys);
    for (size_t i = 0; i < keys.size(); i++) access.Put(keys[i], std::move(values[i]), kNever);
  }
  call.reply.Status("OK");
}

void Increment(Call& call) {
  Add(call, 1);
}

void Decrement(Call& call) {
  Add(call, -1);
}

void IncrementBy(Call& call) {
  const std::optional<int64_t> amount = ParseInteger(call.args[2]);
  if (!amount) return call.reply.Error(kNotAnInteger);
  Add(call, *amount);
}

void DecrementBy(Call& call) {
  const std::optional<int64_t> amount = ParseInteger(call.args[2]);
  if (!amount) return call.reply.Error(kNotAnInteger);
  if (*amount == INT64_MIN) return call.reply.Error("ERR decrement would overflow");
  Add(call, -*amount);
}

}  // namespace kvd
