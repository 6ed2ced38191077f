// model [--bound N] [--random N] [--seed S] [--spurious] [NAME...]
//     Explores the harnesses whose names begin so (none: all): every schedule with up to N
//     preemptions; then every schedule there is, where those are few, else N random ones. The last
//     line is the sum.
// model --replay=SCHEDULE NAME       runs one schedule, each step printed
// model --mutate [--site=NAME]       weakens each memory order by one step: who notices?
// model --litmus                     the explorer's own test
// model --list
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "tests/model/model.h"

ABSL_FLAG(int, bound, 3, "preemptions in one schedule, searched completely");
ABSL_FLAG(uint64_t, random, 1'000'000, "random schedules of each harness");
ABSL_FLAG(uint64_t, seed, 1, "of the first random schedule");
ABSL_FLAG(double, seconds, 1e9, "at most so long for each search of each harness");
ABSL_FLAG(bool, merge, true, "a state that several schedules reach is explored once");
ABSL_FLAG(bool, spurious, false, "futex waits may return for no reason");
ABSL_FLAG(std::string, replay, "", "a schedule, as a failure prints it");
ABSL_FLAG(bool, mutate, false, "weakens memory orders");
ABSL_FLAG(std::string, site, "", "mutate: only sites whose names begin so");
ABSL_FLAG(bool, litmus, false, "litmus tests");
ABSL_FLAG(bool, list, false, "names of the harnesses");

namespace weft::model {

int RunLitmus();
int RunPrograms(int programs);

namespace {

// Random ones that the explorer's own test runs: a few seconds.
constexpr int kPrograms = 2000;
// Harnesses that have been so small within the bounds may be small without, which is tried for
// about a second: half of them have so few schedules in all.
constexpr uint64_t kMayBeFinished = 20'000;
constexpr uint64_t kMostUnbounded = 300'000;

std::vector<const Harness*> Select(const std::vector<char*>& names) {
  std::vector<const Harness*> selected;
  for (const Harness* h = Harness::first; h != nullptr; h = h->next) {
    bool wanted = names.empty();
    for (const char* name : names) wanted |= strncmp(h->name, name, strlen(name)) == 0;
    if (wanted) selected.push_back(h);
  }
  return selected;
}

Options SearchOptions(const Harness& h) {
  Options o;
  o.preemptions = absl::GetFlag(FLAGS_bound);
  o.stale = h.stale;
  o.most_seconds = absl::GetFlag(FLAGS_seconds);
  o.merge = absl::GetFlag(FLAGS_merge);
  o.spurious = absl::GetFlag(FLAGS_spurious);
  return o;
}

Options RandomOptions(const Harness& h) {
  Options o = SearchOptions(h);
  o.random = true;
  o.most_runs = absl::GetFlag(FLAGS_random);
  o.seed = absl::GetFlag(FLAGS_seed);
  return o;
}

void Print(const char* name, const char* how, const Result& r) {
  printf("%-28s %-8s %9lu schedules %7.2f s %6.2f M/s %5.1f steps%s\n", name, how, r.runs,
         r.seconds, static_cast<double>(r.runs) / r.seconds / 1e6,
         static_cast<double>(r.steps) / static_cast<double>(r.runs),
         r.failed     ? "  FAILED"
         : r.complete ? "  complete"
                      : "");
  if (r.failed) {
    printf("  %s\n  to see it: model --replay=%s %s\n", r.what.c_str(), r.schedule.c_str(), name);
  }
  fflush(stdout);
}

Options UnboundedOptions(const Harness& h) {
  Options o = SearchOptions(h);
  o.unbounded = true;
  o.most_runs = kMostUnbounded;
  return o;
}

// After the bounded search: what it left out. False: something failed.
bool ExploreTheRest(const Harness& h, uint64_t bounded_runs) {
  if (bounded_runs <= kMayBeFinished) {
    const Result all = Explore(UnboundedOptions(h), h.body);
    if (all.complete || all.failed) {
      Print(h.name, "all", all);
      return !all.failed;
    }
  }
  const Result random = Explore(RandomOptions(h), h.body);
  Print(h.name, "random", random);
  return !random.failed;
}

int ExploreAll(const std::vector<const Harness*>& harnesses) {
  int failed = 0;
  for (const Harness* h : harnesses) {
    const Result searched = Explore(SearchOptions(*h), h->body);
    Print(h->name, ("bound " + std::to_string(absl::GetFlag(FLAGS_bound))).c_str(), searched);
    bool bad = searched.failed || !searched.complete;
    if (!bad && absl::GetFlag(FLAGS_random) > 0) bad = !ExploreTheRest(*h, searched.runs);
    failed += bad ? 1 : 0;
  }
  printf("%zu passed, %d failed\n", harnesses.size() - static_cast<size_t>(failed), failed);
  return failed;
}

int Replay(const std::vector<const Harness*>& harnesses) {
  const std::string schedule = absl::GetFlag(FLAGS_replay);
  Options o = SearchOptions(*harnesses.front());
  o.replay = schedule.c_str();
  o.trace = true;
  return Explore(o, harnesses.front()->body).failed ? 1 : 0;
}

using Users = std::map<const Site*, std::vector<const Harness*>>;

// Fills in how each site is used, and by whom, the cheapest first.
Users Touch(std::vector<const Harness*> harnesses) {
  std::map<const Harness*, uint64_t> steps;
  std::map<const Harness*, std::vector<Site*>> touched;
  std::map<Site*, uint8_t> kinds;
  for (const Harness* h : harnesses) {
    for (Site* s = Site::all; s != nullptr; s = s->next) s->kinds = 0;
    Options o = SearchOptions(*h);
    o.preemptions = 1;
    o.most_seconds = 1;
    steps[h] = Explore(o, h->body).steps;
    for (Site* s = Site::all; s != nullptr; s = s->next) {
      if (s->kinds == 0) continue;
      touched[h].push_back(s);
      kinds[s] |= s->kinds;
    }
  }
  for (auto& [site, of_all] : kinds) site->kinds = of_all;
  std::sort(harnesses.begin(), harnesses.end(),
            [&](const Harness* a, const Harness* b) { return steps[a] < steps[b]; });
  Users users;
  for (const Harness* h : harnesses) {
    for (const Site* s : touched[h]) users[s].push_back(h);
  }
  return users;
}

const Harness* FindWhoNotices(const std::vector<const Harness*>& users, Result* result) {
  for (const Harness* h : users) {
    Options o = SearchOptions(*h);
    *result = Explore(o, h->body);
    if (result->failed) return h;
  }
  return nullptr;
}

int Mutate(const std::vector<const Harness*>& harnesses) {
  Users users = Touch(harnesses);
  const std::string prefix = absl::GetFlag(FLAGS_site);
  int found = 0;
  int missed = 0;
  for (Site* s = Site::all; s != nullptr; s = s->next) {
    if (strncmp(s->name, prefix.c_str(), prefix.size()) != 0) continue;
    if (strncmp(s->name, "test.", 5) == 0) continue;  // a harness's own
    MemoryOrder weaker[2];
    const int n = s->kinds == 0 ? 0 : Weaker(*s, weaker);
    for (int i = 0; i < n; i++) {
      s->order = weaker[i];
      Result r;
      const Harness* h = FindWhoNotices(users[s], &r);
      (h != nullptr ? found : missed)++;
      printf("%-7s %-28s %s -> %-8s %s%s%s\n", h != nullptr ? "found" : "MISSED", s->name,
             OrderName(s->written), OrderName(weaker[i]), h != nullptr ? h->name : "",
             h != nullptr ? ": " : "", r.failed ? r.what.c_str() : "");
      fflush(stdout);
    }
    s->order = s->written;
  }
  printf("%d found, %d missed\n", found, missed);
  return 0;
}

int Run(const std::vector<char*>& names) {
  const std::vector<const Harness*> harnesses = Select(names);
  if (absl::GetFlag(FLAGS_list)) {
    for (const Harness* h : harnesses) puts(h->name);
    return 0;
  }
  if (absl::GetFlag(FLAGS_litmus)) return RunLitmus() + RunPrograms(kPrograms) == 0 ? 0 : 1;
  if (harnesses.empty()) {
    fprintf(stderr, "model: no such harness\n");
    return 2;
  }
  if (!absl::GetFlag(FLAGS_replay).empty()) return Replay(harnesses);
  if (absl::GetFlag(FLAGS_mutate)) return Mutate(harnesses);
  return ExploreAll(harnesses);
}

}  // namespace
}  // namespace weft::model

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "explores every schedule of weft's protocols; see the head of main.cc");
  std::vector<char*> names = absl::ParseCommandLine(argc, argv);
  names.erase(names.begin());
  return weft::model::Run(names);
}
