// yl: the bare model of a yield, the least that two goroutines on one P can cost.
//
// What a yield in weft must do and nothing else: Grunning to Grunnable by CAS, a push to the
// run queue, a pop by CAS, Grunnable to Grunning by CAS, __cxa_get_globals swapped, the switch
// of stacks ending in jmp. No time slice, no tick, no checks. Printed twice: without and with
// the floating-point control words (mxcsr, x87) kept for each goroutine.
//
// Usage: yl [SECONDS]
#include <cxxabi.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

enum State : uint32_t { kRunnable = 1, kRunning = 2 };

struct G {
  void* sp;
  std::atomic<uint32_t> status;
  uint64_t exception_globals[2];
};

struct P {
  std::atomic<uint32_t> head{0};
  std::atomic<uint32_t> tail{0};
  std::atomic<G*> queue[256];
  uint64_t* exception_globals;  // the thread's, as __cxa_get_globals gives it
  G* current;
  uint32_t tick;
};

P p;
bool with_control_words = false;

// Switch(void** save_sp, void* to_sp), in both kinds.
extern "C" void SwitchWithControlWords(void** save_sp, void* to_sp);
extern "C" void SwitchBare(void** save_sp, void* to_sp);
asm(R"(
.text
SwitchWithControlWords:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  sub $8, %rsp
  stmxcsr (%rsp)
  fnstcw 4(%rsp)
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  ldmxcsr (%rsp)
  fldcw 4(%rsp)
  add $8, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  pop %rcx
  jmp *%rcx    # not ret: the return predictor cannot know the target
SwitchBare:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  pop %rcx
  jmp *%rcx
)");

inline void CasStatus(G* g, uint32_t from, uint32_t to) {
  uint32_t expected = from;
  while (!g->status.compare_exchange_strong(expected, to, std::memory_order_acq_rel)) {
    expected = from;
  }
}

[[gnu::noinline]] void Yield() {
  G* self = p.current;
  CasStatus(self, kRunning, kRunnable);
  uint32_t tail = p.tail.load(std::memory_order_relaxed);
  uint32_t head = p.head.load(std::memory_order_acquire);
  if (tail - head < 256) {
    p.queue[tail % 256].store(self, std::memory_order_relaxed);
    p.tail.store(tail + 1, std::memory_order_release);
  }
  G* next;
  for (;;) {
    head = p.head.load(std::memory_order_acquire);
    next = p.queue[head % 256].load(std::memory_order_relaxed);
    if (p.head.compare_exchange_strong(head, head + 1, std::memory_order_acq_rel)) break;
  }
  CasStatus(next, kRunnable, kRunning);
  memcpy(self->exception_globals, p.exception_globals, 16);
  memcpy(p.exception_globals, next->exception_globals, 16);
  p.current = next;
  p.tick++;
  if (next != self) {
    if (with_control_words) {
      SwitchWithControlWords(&self->sp, next->sp);
    } else {
      SwitchBare(&self->sp, next->sp);
    }
  }
}

[[noreturn]] void YieldForEver() {
  for (;;) Yield();
}

// A stack on which the switch finds six registers (and the control words), then YieldForEver.
void* FreshStack() {
  constexpr size_t kBytes = 65536;
  alignas(16) static char stack[kBytes];
  void** sp = reinterpret_cast<void**>(stack + kBytes - 64);
  *--sp = nullptr;  // where a return address would be: keeps the ABI's alignment
  *--sp = reinterpret_cast<void*>(YieldForEver);
  for (int i = 0; i < 6; i++) *--sp = nullptr;
  if (with_control_words) {
    uint32_t words[2] = {0, 0};
    asm("stmxcsr %0" : "=m"(words[0]));
    asm("fnstcw %0" : "=m"(words[1]));
    memcpy(--sp, words, sizeof words);
  }
  return sp;
}

// ns for one yield of two goroutines that do nothing else.
double MeasureYield(double seconds) {
  static G main_g;
  static G other;
  other.sp = FreshStack();
  other.status = kRunnable;
  main_g.status = kRunning;
  memset(other.exception_globals, 0, sizeof other.exception_globals);
  p.current = &main_g;
  p.head = 0;
  p.tail = 1;
  p.queue[0] = &other;

  using Clock = std::chrono::steady_clock;
  Clock::time_point begin = Clock::now();
  double elapsed_ns = 0;
  long yields = 0;
  while (elapsed_ns < seconds * 1e9) {
    constexpr long kBatch = 1000000;  // ours; the other goroutine yields as often
    for (long i = 0; i < kBatch; i++) Yield();
    yields += 2 * kBatch;
    elapsed_ns = std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
  }
  return elapsed_ns / static_cast<double>(yields);
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 0.3;
  p.exception_globals = reinterpret_cast<uint64_t*>(abi::__cxa_get_globals());
  for (bool control_words : {false, true}) {
    with_control_words = control_words;
    printf("%-28s %10.2f ns/op\n", control_words ? "yield with control words" : "yield bare",
           MeasureYield(seconds));
  }
}
