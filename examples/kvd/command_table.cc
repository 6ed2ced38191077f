// The table of commands, and the way from a name to its entry.
//
// Names are letters only and at most 8 of them, so that a name is one word of 64 bits in which
// bit 5 of each byte tells upper from lower case: setting these bits folds it, and makes no other
// character into a letter. The word finds its entry through a small hash table made at compile
// time.
#include <array>
#include <cctype>
#include <cstring>

#include "kvd/commands.h"

namespace kvd {

namespace {

constexpr Command kCommands[] = {
    // name, arguments, function, writes, keys: first, last, step
    {"command", -1, DescribeCommands, false, 0, 0, 0},
    {"config", -2, Config, false, 0, 0, 0},
    {"dbsize", 1, CountKeys, false, 0, 0, 0},
    {"decr", 2, Decrement, true, 1, 1, 1},
    {"decrby", 3, DecrementBy, true, 1, 1, 1},
    {"del", -2, Delete, true, 1, -1, 1},
    {"echo", 2, Echo, false, 0, 0, 0},
    {"exists", -2, Exists, false, 1, -1, 1},
    {"expire", -3, Expire, true, 1, 1, 1},
    {"flushall", -1, FlushAll, true, 0, 0, 0},
    {"get", 2, Get, false, 1, 1, 1},
    {"incr", 2, Increment, true, 1, 1, 1},
    {"incrby", 3, IncrementBy, true, 1, 1, 1},
    {"info", -1, Info, false, 0, 0, 0},
    {"mget", -2, MultiGet, false, 1, -1, 1},
    {"mset", -3, MultiSet, true, 1, -1, 2},
    {"persist", 2, Persist, true, 1, 1, 1},
    {"ping", -1, Ping, false, 0, 0, 0},
    {"pttl", 2, TimeToLiveMs, false, 1, 1, 1},
    {"quit", -1, Quit, false, 0, 0, 0},
    {"select", 2, Select, false, 0, 0, 0},
    {"set", -3, Set, true, 1, 1, 1},
    {"ttl", 2, TimeToLive, false, 1, 1, 1},
    {"type", 2, Type, false, 1, 1, 1},
};

constexpr size_t kNameSize = sizeof(uint64_t);
constexpr size_t kNameArgs = 128;  // taken from Redis: of a command that it does not know

constexpr uint64_t Fold(uint64_t word) {
  return word | 0x2020202020202020;
}

// The name as a word, as memcpy would make it.
constexpr uint64_t WordOf(std::string_view name) {
  uint64_t word = 0;
  for (size_t i = 0; i < name.size(); i++) {
    word |= uint64_t{static_cast<unsigned char>(name[i])} << (8 * i);
  }
  return Fold(word);
}

struct Slot {
  uint64_t word = 0;
  const Command* command = nullptr;
};

class NameTable {
 public:
  constexpr NameTable() {
    for (const Command& command : kCommands) {
      size_t at = Home(WordOf(command.name));
      while (slots_[at].command != nullptr) at = (at + 1) % kSlots;
      slots_[at] = {WordOf(command.name), &command};
    }
  }
  const Command* Find(uint64_t word) const {
    for (size_t at = Home(word); slots_[at].command != nullptr; at = (at + 1) % kSlots) {
      if (slots_[at].word == word) return slots_[at].command;
    }
    return nullptr;
  }

 private:
  static constexpr size_t kSlots = 128;  // several times the commands
  static_assert(std::size(kCommands) * 4 < kSlots);

  // The multiplier is that of Fibonacci hashing, 2^64 divided by the golden ratio.
  static constexpr size_t Home(uint64_t word) { return word * 0x9E3779B97F4A7C15 >> 57; }

  std::array<Slot, kSlots> slots_{};
};

constexpr bool NamesFit() {
  for (const Command& command : kCommands) {
    if (command.name.empty() || command.name.size() > kNameSize) return false;
  }
  return true;
}
static_assert(NamesFit());

constexpr NameTable kTable;

// As a C string and at most `limit` characters: how Redis quotes what it was sent.
std::string_view Quoted(std::string_view text, size_t limit) {
  return text.substr(0, text.find('\0')).substr(0, limit);
}

void RefuseUnknown(Call& call) {
  std::string text = "ERR unknown command '";
  text += Quoted(call.args[0], kNameArgs);
  text += "', with args beginning with: ";
  std::string list;
  for (size_t i = 1; i < call.args.size() && list.size() < kNameArgs; i++) {
    const std::string_view shown = Quoted(call.args[i], kNameArgs - list.size());
    list += '\'';
    list += shown;
    list += "' ";
  }
  call.reply.Error(text + list);
}

bool ArityFits(const Command& command, size_t count) {
  if (command.arity >= 0) return count == static_cast<size_t>(command.arity);
  return count >= static_cast<size_t>(-command.arity);
}

}  // namespace

std::span<const Command> AllCommands() {
  return kCommands;
}

const Command* FindCommand(std::string_view name) {
  if (name.empty() || name.size() > kNameSize) return nullptr;
  uint64_t word = 0;
  std::memcpy(&word, name.data(), name.size());
  const Command* command = kTable.Find(Fold(word));
  // What fills up a short word looks like spaces.
  return command != nullptr && command->name.size() == name.size() ? command : nullptr;
}

void Execute(Call& call) {
  const Command* command = FindCommand(call.args[0]);
  if (command == nullptr) [[unlikely]]
    return RefuseUnknown(call);
  if (!ArityFits(*command, call.args.size())) [[unlikely]] {
    return call.reply.Error(WrongArity(command->name));
  }
  command->run(call);
}

std::string WrongArity(std::string_view command) {
  return std::string("ERR wrong number of arguments for '").append(command).append("' command");
}

std::string InvalidExpireTime(std::string_view command) {
  return std::string("ERR invalid expire time in '").append(command).append("' command");
}

bool IsWord(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (size_t i = 0; i < text.size(); i++) {
    if (std::tolower(static_cast<unsigned char>(text[i])) != lower[i]) return false;
  }
  return true;
}

}  // namespace kvd
