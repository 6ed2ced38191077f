// Goroutines: starting them, giving way, and leaving the scheduler for calls that block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#include "weft/park.h"

namespace weft {

// How a goroutine is made, beyond its function.
struct GoOptions {
  // Bytes of stack that it may grow to; 0 is the runtime's default (192 KiB). Memory is taken
  // as the stack is touched, page by page. Rounded up to a power of two, 16 KiB and 4 pages at
  // least; fatal beyond 64 MiB. Code that needs more ends the process with a report of the
  // overflow, as long as none of its frames is larger than the guard below the stack: 64 KiB, and
  // one page where the stack is smaller than 128 KiB. A larger frame may step over the guard into
  // another goroutine's stack.
  size_t stack_size = 0;
};

namespace internal {
// The closure of a new goroutine lives in runtime memory: `closure` has room for it.
struct NewGoroutine {
  Goroutine* g;
  void* closure;
};
NewGoroutine AllocateGoroutine(size_t closure_size, size_t alignment, const GoOptions& options,
                               void* created_by);
// `run` calls the closure and destroys it.
void StartGoroutine(Goroutine* g, void (*run)(void* closure));
void AbandonGoroutine(Goroutine* g);

void EnterBlocking();
void ExitBlocking();

// Frees a goroutine that was allocated but whose closure could not be built.
class SpawnGuard {
 public:
  explicit SpawnGuard(Goroutine* g) : g_(g) {}
  ~SpawnGuard() {
    if (g_ != nullptr) AbandonGoroutine(g_);
  }
  SpawnGuard(const SpawnGuard&) = delete;
  SpawnGuard& operator=(const SpawnGuard&) = delete;
  void Dismiss() { g_ = nullptr; }

 private:
  Goroutine* g_;
};
}  // namespace internal

// Go runs `fn()` on a new goroutine and returns at once.
//
// Any thread may call it, once the runtime runs (see weft/runtime.h). `fn` is moved or copied
// into the goroutine; captures up to 64 bytes cost no allocation. The result of `fn` is dropped.
// An exception that leaves `fn` ends the process with the goroutine's trace.
// Fatal when no runtime runs or the kernel gives no memory.
template <class F>
[[gnu::always_inline]] inline void Go(const GoOptions& options, F&& fn) {
  using Closure = std::decay_t<F>;
  static_assert(std::is_invocable_v<Closure&>, "Go takes a function without arguments");
  internal::NewGoroutine made = internal::AllocateGoroutine(sizeof(Closure), alignof(Closure),
                                                            options, __builtin_return_address(0));
  internal::SpawnGuard guard(made.g);
  new (made.closure) Closure(std::forward<F>(fn));
  guard.Dismiss();
  internal::StartGoroutine(made.g, [](void* p) {
    Closure* closure = static_cast<Closure*>(p);
    (*closure)();
    closure->~Closure();
  });
}

template <class F>
requires(!std::is_same_v<std::decay_t<F>, GoOptions>)
    [[gnu::always_inline]] inline void Go(F&& fn) {
  Go(GoOptions{}, std::forward<F>(fn));
}

// Yield lets other goroutines run before the caller goes on. On a plain thread: sched_yield.
void Yield();

// Blocking calls `fn` after giving the scheduler leave to take this thread's P away: use it
// around calls that may block the thread (a database client, fsync). `fn` runs on the calling
// goroutine's stack and thread. Inside it no weft call that blocks may be made.
template <class F>
auto Blocking(F&& fn) {
  struct Exit {
    ~Exit() { internal::ExitBlocking(); }
  };
  internal::EnterBlocking();
  Exit exit;
  return std::forward<F>(fn)();
}

// LockOSThread binds the calling goroutine to its thread until UnlockOSThread: no other
// goroutine runs on that thread, this one on no other. Calls nest. A goroutine that ends while
// locked ends its thread. Fatal on a plain thread (unlock: when not locked).
void LockOSThread();
void UnlockOSThread();

// The calling goroutine's number, from 1; 0 on a plain thread.
uint64_t GoroutineId();

// How many goroutines exist, running or not.
int NumGoroutine();

}  // namespace weft
