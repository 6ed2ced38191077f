// G: one goroutine, or a plain thread's stand-in for one.
//
// Gs live in slabs and are never unmapped while the runtime lives, so that a stale pointer is
// wrong but readable; dead ones are reused.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/status.h"
#include "runtime/timer.h"
#include "weft/internal/atomic.h"
#include "weft/park.h"

namespace weft::runtime {

struct M;

// stackguard0 holds this when the goroutine shall stop at its next poll. Larger than any sp, so
// that a split-stack prologue's compare fails too.
inline constexpr uintptr_t kStackPreempt = ~uintptr_t{0} - 0x521;

// [lo, hi) its guard lies below lo.
struct Stack {
  uintptr_t lo = 0;
  uintptr_t hi = 0;
};

inline constexpr size_t kInlineClosureBytes = 64;

// Rules of access:
//   [o] its owner as the status word says    [a] atomic, any thread
//   [c] constant once it is spawned          [r] under sched.lock or by who holds it off-queue
struct alignas(64) G {
  GStatusWord status;                          // [a]
  WaitReason wait_reason = WaitReason::kNone;  // [o]
  bool is_thread = false;                      // [c] stands for a plain thread
  bool started = false;                        // [o] has a stack and a context
  os::Atomic<bool> abandoned{false};           // [a] its runtime has ended: never to run again
  uint8_t stack_class = 0;                     // [c]
  void* sp = nullptr;                          // [o] saved context; see arch/
  os::Atomic<uintptr_t> stackguard0{0};        // [a] own M polls it, any sets kStackPreempt
  os::Atomic<M*> m{nullptr};                   // [a] own M writes: who runs it; dumps read
  G* schedlink = nullptr;                      // [r] next in a queue
  Stack stack;                                 // [o]
  uintptr_t eh_globals[2] = {0, 0};            // [o] __cxa_eh_globals while not running
  uint64_t goid = 0;                           // [c]
  uintptr_t park_result = 0;                   // [o] readier writes before Ready
  void (*run)(void* closure) = nullptr;        // [c]
  void* closure = nullptr;                     // [c] inline_closure or runtime memory
  uint32_t closure_bytes = 0;                  // [c] of runtime memory; 0: inline
  int32_t lock_count = 0;                      // [o] LockOSThread, nested
  os::Atomic<M*> lockedm{nullptr};             // [a] own goroutine writes: may run there only
  void* created_by = nullptr;                  // [c] code address
  void* context_slot = nullptr;                // [o] the public layer's
  M* last_m = nullptr;                         // [o] under WEFT_DEBUG=migrate=1
  void* sanitizer_fiber = nullptr;             // [o]
  void* sanitizer_fake_stack = nullptr;        // [o]
  Timer sleep_timer;                           // [o]
  os::Atomic<uint64_t> select_word{0};         // [a] see select.cc
  alignas(16) unsigned char inline_closure[kInlineClosureBytes];  // [c]
};

inline uint32_t ReadGStatus(const G* g) {
  return g->status.Read();
}

template <GState from, GState to>
[[gnu::always_inline]] inline void CasGStatus(G* g) {
  static_assert(IsTransition(from, to), "not in WEFT_G_TRANSITIONS");
  uint32_t found = from;
  // See the essay of status.h.
  if (!g->status.word_.CompareExchange(found, to, os::kAcqRel<"status.cas">)) [[unlikely]] {
    CasGStatusSlow(g, from, to);
  }
  if constexpr (from == Gcopystack) TellSuspenders();
}

// A singly linked queue of goroutines, by schedlink. Not shared.
class GQueue {
 public:
  void PushBack(G* g) {
    g->schedlink = nullptr;
    if (tail_ == nullptr) {
      head_ = g;
    } else {
      tail_->schedlink = g;
    }
    tail_ = g;
    size_++;
  }
  void PushFront(G* g) {
    g->schedlink = head_;
    head_ = g;
    if (tail_ == nullptr) tail_ = g;
    size_++;
  }
  G* PopFront() {
    G* g = head_;
    if (g == nullptr) return nullptr;
    head_ = g->schedlink;
    if (head_ == nullptr) tail_ = nullptr;
    size_--;
    g->schedlink = nullptr;
    return g;
  }
  void Append(GQueue&& other) {
    if (other.head_ == nullptr) return;
    if (tail_ == nullptr) {
      head_ = other.head_;
    } else {
      tail_->schedlink = other.head_;
    }
    tail_ = other.tail_;
    size_ += other.size_;
    other = GQueue();
  }
  G* front() const { return head_; }
  bool empty() const { return head_ == nullptr; }
  int32_t size() const { return size_; }

 private:
  G* head_ = nullptr;
  G* tail_ = nullptr;
  int32_t size_ = 0;
};

}  // namespace weft::runtime
