// Commands about the connection and the server.
#include <fnmatch.h>
#include <unistd.h>

#include <cctype>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kvd/commands.h"
#include "kvd/request_parser.h"
#include "weft/runtime.h"

namespace kvd {

namespace {

std::string UnknownSubcommand(const Call& call, std::string_view command) {
  std::string upper;
  for (char c : command) upper += static_cast<char>(c - 'a' + 'A');
  return std::string("ERR unknown subcommand '")
      .append(call.args[1].substr(0, 128))
      .append("'. Try ")
      .append(upper)
      .append(" HELP.");
}

// ---- COMMAND ----

// Ten fields, as Redis 7 has them; those that kvd has nothing to say for are empty.
void Describe(Call& call, const Command& command) {
  Reply& reply = call.reply;
  reply.Array(10);
  reply.Bulk(command.name);
  reply.Integer(command.arity);
  reply.Array(1);
  reply.Status(command.writes ? "write" : "readonly");
  reply.Integer(command.first_key);
  reply.Integer(command.last_key);
  reply.Integer(command.key_step);
  for (int empty = 0; empty < 4; empty++) reply.Array(0);  // categories, tips, keys, subcommands
}

void DescribeSome(Call& call) {
  if (call.args.size() == 2) {
    call.reply.Array(AllCommands().size());
    for (const Command& command : AllCommands()) Describe(call, command);
    return;
  }
  call.reply.Array(call.args.size() - 2);
  for (std::string_view name : call.args.subspan(2)) {
    if (const Command* command = FindCommand(name)) {
      Describe(call, *command);
    } else {
      call.reply.Null();
    }
  }
}

// ---- CONFIG ----

struct Setting {
  const char* name;  // in lower case
  const char* value;
};

// What tools ask for before they begin; none can be set.
constexpr Setting kSettings[] = {
    {"appendonly", "no"}, {"databases", "1"},
    {"maxmemory", "0"},   {"proto-max-bulk-len", "536870912"},
    {"save", ""},         {"timeout", "0"},
};

const Setting* FindSetting(std::string_view name) {
  for (const Setting& setting : kSettings) {
    if (IsWord(name, setting.name)) return &setting;
  }
  return nullptr;
}

// A setting under the name that it is answered by: as Redis, the one that it was asked for by, or
// its own where that was a pattern.
struct Answer {
  std::string_view name;
  const Setting* setting;
};

// Each once, in the order asked for. (Redis's order is that of a hash table.)
std::vector<Answer> FindSettings(std::span<const std::string_view> patterns) {
  std::vector<Answer> found;
  const auto add = [&found](std::string_view name, const Setting* setting) {
    for (const Answer& answer : found) {
      if (answer.setting == setting) return;
    }
    found.push_back({name, setting});
  };
  for (std::string_view pattern : patterns) {
    if (pattern.find_first_of("[*?") == std::string_view::npos) {
      if (const Setting* setting = FindSetting(pattern)) add(pattern, setting);
      continue;
    }
    std::string lower(pattern);
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    for (const Setting& setting : kSettings) {
      if (fnmatch(lower.c_str(), setting.name, 0) == 0) add(setting.name, &setting);
    }
  }
  return found;
}

void GetConfig(Call& call) {
  const std::vector<Answer> found = FindSettings(call.args.subspan(2));
  call.reply.Array(2 * found.size());
  for (const Answer& answer : found) {
    call.reply.Bulk(answer.name);
    call.reply.Bulk(answer.setting->value);
  }
}

// Refuses, in Redis's words for what cannot be set and for what there is not.
void SetConfig(Call& call) {
  if (call.args.size() < 4) return call.reply.Error(WrongArity("config|set"));
  if (call.args.size() % 2 != 0) return call.reply.Error(kSyntaxError);
  const std::string name(call.args[2]);
  if (FindSetting(name) == nullptr) {
    return call.reply.Error("ERR Unknown option or number of arguments for CONFIG SET - '" + name +
                            "'");
  }
  call.reply.Error("ERR CONFIG SET failed (possibly related to argument '" + name +
                   "') - can't set immutable config");
}

// ---- INFO ----

std::string ServerSection(const Call& call) {
  return absl::StrCat(
      "# Server\r\nredis_version:7.0.0\r\nserver_name:kvd\r\nnetpoller:", weft::NetpollName(),
      "\r\nprocs:", weft::MaxProcs(0), "\r\nprocess_id:", getpid(),
      "\r\nuptime_in_seconds:", (WallClock_ms() - call.server.started_ms) / 1000, "\r\n");
}

std::string ClientsSection(const Call& call) {
  return absl::StrCat("# Clients\r\nconnected_clients:",
                      call.server.clients.load(std::memory_order_relaxed), "\r\n");
}

std::string StatsSection(const Call& call) {
  const weft::RuntimeStats stats = weft::Stats();
  return absl::StrCat("# Stats\r\nexpired_keys:", call.server.store.Count().expired,
                      "\r\ngoroutines:", stats.goroutines, "\r\nthreads:", stats.threads,
                      "\r\ncontext_switches:", stats.context_switches, "\r\n");
}

std::string KeyspaceSection(const Call& call) {
  const Store::Size size = call.server.store.Count();
  std::string text = "# Keyspace\r\n";
  if (size.keys > 0) {
    absl::StrAppend(&text, "db0:keys=", size.keys, ",expires=", size.expiring, ",avg_ttl=0\r\n");
  }
  return text;
}

struct Section {
  const char* name;
  std::string (*text)(const Call& call);
};
constexpr Section kSections[] = {
    {"server", ServerSection},
    {"clients", ClientsSection},
    {"stats", StatsSection},
    {"keyspace", KeyspaceSection},
};

bool Wants(const Call& call, const char* section) {
  if (call.args.size() == 1) return true;
  for (std::string_view word : call.args.subspan(1)) {
    if (IsWord(word, section) || IsWord(word, "all") || IsWord(word, "everything") ||
        IsWord(word, "default")) {
      return true;
    }
  }
  return false;
}

}  // namespace

void DescribeCommands(Call& call) {
  if (call.args.size() == 1) {
    call.reply.Array(AllCommands().size());
    for (const Command& command : AllCommands()) Describe(call, command);
  } else if (IsWord(call.args[1], "count")) {
    if (call.args.size() != 2) return call.reply.Error(WrongArity("command|count"));
    call.reply.Integer(static_cast<int64_t>(AllCommands().size()));
  } else if (IsWord(call.args[1], "info")) {
    DescribeSome(call);
  } else if (IsWord(call.args[1], "docs")) {
    call.reply.Array(0);  // redis-cli does without
  } else {
    call.reply.Error(UnknownSubcommand(call, "command"));
  }
}

void Config(Call& call) {
  if (IsWord(call.args[1], "set")) return SetConfig(call);
  if (!IsWord(call.args[1], "get")) return call.reply.Error(UnknownSubcommand(call, "config"));
  if (call.args.size() == 2) return call.reply.Error(WrongArity("config|get"));
  GetConfig(call);
}

void Info(Call& call) {
  std::string text;
  for (const Section& section : kSections) {
    if (!Wants(call, section.name)) continue;
    if (!text.empty()) text += "\r\n";
    text += section.text(call);
  }
  call.reply.Bulk(text);
}

void Ping(Call& call) {
  if (call.args.size() > 2) return call.reply.Error(WrongArity("ping"));
  if (call.args.size() == 1) return call.reply.Status("PONG");
  call.reply.Bulk(call.args[1]);
}

void Echo(Call& call) {
  call.reply.Bulk(call.args[1]);
}

void Select(Call& call) {
  const std::optional<int64_t> index = ParseInteger(call.args[1]);
  if (!index) return call.reply.Error(kNotAnInteger);
  if (*index < INT32_MIN || *index > INT32_MAX) {
    return call.reply.Error(
        "ERR value is out of range, value must between -2147483648 and 2147483647");
  }
  if (*index != 0) return call.reply.Error("ERR DB index is out of range");
  call.reply.Status("OK");
}

void Quit(Call& call) {
  call.reply.Status("OK");
  call.quit = true;
}

}  // namespace kvd
