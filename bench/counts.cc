// counts PATH N: does N times what PATH names, for whoever counts the instructions (bench/run
// --counts). One P.
#include <cstdio>
#include <cstring>

#include "absl/strings/numbers.h"
#include "arch/arch.h"
#include "paths.h"
#include "runtime/sched.h"
#include "weft/runtime.h"

namespace {

using weft::runtime::CasGStatus;
using weft::runtime::G;
using weft::runtime::Gdead;
using weft::runtime::Gidle;
using weft::runtime::Grunnable;
using weft::runtime::Grunning;
using weft::runtime::Gwaiting;

// Between two contexts of one thread: two switches a round.
void* here;
void* there;

[[noreturn]] void SwitchBack() {
  for (;;) weft::arch::weft_switch(&there, here, nullptr);
}

void Switch(int64_t n) {
  alignas(64) static char stack[size_t{64} << 10];
  const uintptr_t top = reinterpret_cast<uintptr_t>(stack + sizeof(stack));
  there = weft::arch::MakeContext(top - weft::arch::kCallBytes,
                                  reinterpret_cast<void (*)()>(SwitchBack));
  for (int64_t i = 0; i < n / 2; i++) weft::arch::weft_switch(&here, there, nullptr);
}

// What each entry into the runtime begins and ends with.
void Poll(int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    const weft::runtime::Entry entry;
    asm volatile("" ::"r"(entry.m()) : "memory");
  }
}

void Status(int64_t n) {
  static G g;
  CasGStatus<Gidle, Gdead>(&g);
  CasGStatus<Gdead, Grunnable>(&g);
  for (int64_t i = 0; i < n / 3; i++) {
    CasGStatus<Grunnable, Grunning>(&g);
    CasGStatus<Grunning, Gwaiting>(&g);
    CasGStatus<Gwaiting, Grunnable>(&g);
  }
}

struct Path {
  const char* name;
  void (*work)(int64_t n);
};
constexpr Path kPaths[] = {
    {"switch", Switch},        {"yield", paths::Yield}, {"spawn", paths::Spawn},
    {"chan", paths::PingPong}, {"poll", Poll},          {"status", Status},
};

}  // namespace

int main(int argc, char** argv) {
  int64_t n = 0;
  const Path* path = nullptr;
  for (const Path& p : kPaths) {
    if (argc == 3 && strcmp(argv[1], p.name) == 0) path = &p;
  }
  if (path == nullptr || !absl::SimpleAtoi(argv[2], &n)) {
    std::fprintf(stderr, "usage: counts PATH N\n");
    return 2;
  }
  weft::RuntimeOptions options;
  options.max_procs = 1;
  return weft::Main(options, [path, n] { path->work(n); });
}
