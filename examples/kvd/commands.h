// Commands: what kvd can do, and how a request finds it.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "kvd/reply.h"
#include "kvd/store.h"

namespace kvd {

// What all clients share.
struct Server {
  Store store;
  std::atomic<int64_t> clients{0};
  const int64_t started_ms = WallClock_ms();
};

// One request while it is carried out.
struct Call {
  std::span<const std::string_view> args;  // args[0] is the command's name
  Server& server;
  Reply& reply;
  bool quit = false;  // set: the connection ends after this reply
};

struct Command {
  std::string_view name;  // in lower case, letters only
  int arity;              // arguments with the name; negative: at least so many
  void (*run)(Call& call);
  bool writes;
  // Which arguments are keys, as COMMAND tells clients; all 0: none. A last one of -1 is the last.
  int first_key;
  int last_key;
  int key_step;
};

std::span<const Command> AllCommands();
// Null when there is none. Upper and lower case are the same.
const Command* FindCommand(std::string_view name);

// Carries out `call`: checks the name and the number of arguments and runs the command.
void Execute(Call& call);

// Errors that several commands give, in Redis's words.
inline constexpr std::string_view kNotAnInteger = "ERR value is not an integer or out of range";
inline constexpr std::string_view kSyntaxError = "ERR syntax error";
std::string WrongArity(std::string_view command);
std::string InvalidExpireTime(std::string_view command);

// Whether two words are the same but for case. `lower` is in lower case.
bool IsWord(std::string_view text, std::string_view lower);

// string_commands.cc
void DecrementBy(Call& call);
void Decrement(Call& call);
void Get(Call& call);
void IncrementBy(Call& call);
void Increment(Call& call);
void MultiGet(Call& call);
void MultiSet(Call& call);
void Set(Call& call);

// key_commands.cc
void CountKeys(Call& call);
void Delete(Call& call);
void Exists(Call& call);
void Expire(Call& call);
void FlushAll(Call& call);
void Persist(Call& call);
void TimeToLive(Call& call);
void TimeToLiveMs(Call& call);
void Type(Call& call);

// server_commands.cc
void DescribeCommands(Call& call);
void Config(Call& call);
void Echo(Call& call);
void Info(Call& call);
void Ping(Call& call);
void Quit(Call& call);
void Select(Call& call);

}  // namespace kvd
