// A program for lto_test.py: goroutines that move to another thread at every park, compiled as one
// with the whole runtime. If an optimizer keeps an M, or the address of a thread's own variable,
// over a park, it shows here. Run with WEFT_DEBUG=migrate=1.
//
// Checked after every park: weft_get_m answers with the M of the thread that really runs, whose
// running goroutine is the caller, and which is not the M that it parked on.
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <map>
#include <mutex>

#include "runtime/g.h"
#include "runtime/m.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/park.h"
#include "weft/runtime.h"

namespace {

using weft::Chan;
using weft::runtime::GetM;
using weft::runtime::M;

constexpr int kGoroutines = 4;
constexpr int kRounds = 300;

std::atomic<int> wrong{0};
std::atomic<int> parks{0};
std::atomic<int> moves{0};

void Expect(bool condition, const char* what) {
  if (condition) return;
  if (wrong++ < 10) std::fprintf(stderr, "wrong: %s\n", what);
}

// Each M has one thread for as long as this program runs.
void ExpectMOfThread(const M* m) {
  static std::mutex mutex;
  static std::map<const M*, pid_t> threads;
  const pid_t tid = gettid();
  std::scoped_lock lock(mutex);
  Expect(threads.try_emplace(m, tid).first->second == tid, "weft_get_m is of another thread");
}

class Mover {
 public:
  // Inlined, so that what the optimizer may keep over the park it has in its hands.
  [[gnu::always_inline]] void Park() {
    const M* before = GetM();
    weft::Yield();
    parks++;
    moves += Check() != before;
  }

  [[gnu::always_inline]] const M* Check() {
    const M* m = GetM();
    Expect(m->curg == self_, "the M's goroutine is the caller");
    Expect(weft::Current() == self_, "Current is the caller");
    Expect(weft::GoroutineId() == id_, "GoroutineId is the caller's");
    ExpectMOfThread(m);
    return m;
  }

 private:
  weft::Goroutine* self_ = weft::Current();
  uint64_t id_ = weft::GoroutineId();
};

void Run(Chan<int> in, Chan<int> out) {
  Mover mover;
  for (int i = 0; i < kRounds; i++) {
    mover.Park();
    Expect(out.Send(i), "send");
    mover.Check();
    Expect(in.Receive().has_value(), "receive");  // may park
    mover.Check();
    mover.Park();
  }
}

void Main() {
  Chan<int> ring[kGoroutines];
  for (Chan<int>& chan : ring) chan = Chan<int>(1);
  Chan<bool> done(kGoroutines);
  for (int i = 0; i < kGoroutines; i++) {
    weft::Go([in = ring[i], out = ring[(i + 1) % kGoroutines], done]() mutable {
      Run(in, out);
      Expect(done.Send(true), "done");
    });
  }
  for (int i = 0; i < kGoroutines; i++) Expect(done.Receive().has_value(), "all done");
}

}  // namespace

int main() {
  weft::Main(weft::RuntimeOptions{.max_procs = 2, .netpoll = ""}, [] { Main(); });
  std::printf("%d parks, %d moves, %d wrong\n", parks.load(), moves.load(), wrong.load());
  return wrong == 0 && parks == 2 * kGoroutines * kRounds && moves == parks ? 0 : 1;
}
