// Goroutine stacks: reservations of address space, committed by first touch.
//
// Who owns a stack: the pool ([lock]), a P's cache (its M), or a G (see status.h). A stack moves
// between them whole and keeps its guard for life.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/g.h"
#include "runtime/lock.h"

namespace weft::runtime {

// Sizes are powers of two from 16 KiB (class 0) to 64 MiB; and the default, which fills 256 KiB of
// address space together with its guard: eight to a page table.
inline constexpr int kDefaultStackClass = 13;
inline constexpr int kStackClasses = kDefaultStackClass + 1;
inline constexpr size_t kSmallestStack = size_t{16} << 10;
inline constexpr size_t kDefaultStack = size_t{192} << 10;
inline constexpr size_t kLargestStack = kSmallestStack << (kDefaultStackClass - 1);
constexpr size_t StackClassBytes(int size_class) {
  return size_class == kDefaultStackClass ? kDefaultStack : kSmallestStack << size_class;
}
// What faults on access below each stack of a class, beyond its bytes.
size_t StackGuardBytes(int size_class);
// The smallest class that is used: four pages, so that pages, not parts of them, are guarded and
// released. It is class 0 where pages are 4 KiB.
constexpr int SmallestStackClass(size_t page_size) {
  int size_class = 0;
  while (StackClassBytes(size_class) < 4 * page_size) size_class++;
  return size_class;
}
// The class for `bytes`; 0 stands for kDefaultStack. Fatal beyond kLargestStack: a stack that is
// silently smaller than asked for would overflow where nobody expects it.
int StackClassOf(size_t bytes);

// A P's stacks of the default class, the hottest last.
struct StackCache {
  static constexpr int kCapacity = 64;
  os::Atomic<int32_t> count{0};  // its M writes; counters read
  Stack stack[kCapacity];

  int32_t size() const { return count.Load(os::kRelaxed<"stackcache.size">); }
  bool Pop(Stack* out) {
    int32_t n = size();
    if (n == 0) return false;
    *out = stack[n - 1];
    count.Store(n - 1, os::kRelaxed<"stackcache.pop">);  // one writer
    return true;
  }
  void Push(Stack s) {
    int32_t n = size();
    stack[n] = s;
    count.Store(n + 1, os::kRelaxed<"stackcache.push">);  // one writer
  }
};

class StackPool {
 public:
  // A stack, [lo, hi), with its guard below `lo`. Fatal with advice when the kernel gives none.
  Stack Allocate(int size_class);
  // Takes a stack back. Free stacks keep their memory up to a number of bytes, for the next burst;
  // of one that comes beyond that all but the highest page is released.
  void Free(Stack stack, int size_class);
  // Half a cache at once.
  void Refill(StackCache* cache, int size_class);
  void Drain(StackCache* cache, int size_class, int keep);

  // Whether `address` lies in an arena, its apron counted.
  bool IsArenaAddress(uintptr_t address) const;
  // Whether a fault at `address` of code that ran on `stack` is that stack's overflow: it hit the
  // guard, or something below where a large frame stepped over it.
  bool IsOverflow(Stack stack, uintptr_t address) const;

  // Handed out: in use or in the Ps' caches.
  size_t bytes_out() const { return out_.Load(os::kRelaxed<"stack.out.read">); }
  // At the end, when nobody is left.
  void UnmapAll();
  // The same where stacks must stay: only what was never opened goes.
  void UnmapUnopened();

 private:
  // A stretch of address space that stacks of one class are cut from.
  struct Arena {
    uintptr_t start = 0, end = 0;  // the apron first
    uintptr_t opened = 0;          // accessible below
    uintptr_t next = 0;            // cut below
  };
  // A free stack's header, at its highest bytes.
  struct Free_ {
    uintptr_t lo;
    size_t kept;  // its part of kept_
    Free_* next;
  };
  // How deep the stacks of a class are used.
  struct Use {
    os::Atomic<size_t> touched{0};
    os::Atomic<uint32_t> turn{0};
  };
  static constexpr int kMaxArenas = os::Scaled(256, 1);

  Stack Cut(int size_class);
  Arena* NewArena(int size_class);
  Stack Take(int size_class);              // [lock_]
  void Give(Free_* free, int size_class);  // [lock_]
  // Releases what a stack may not keep, and makes it a free one. Without the lock.
  Free_* Retire(Stack stack, int size_class);
  // About how much of a stack has memory.
  size_t Touched(Stack stack, int size_class);

  Lock lock_{LockRank::kStackPool};
  Free_* free_[kStackClasses] = {};     // [lock_]
  Arena* current_[kStackClasses] = {};  // [lock_]
  Arena arenas_[kMaxArenas];            // [lock_]; arena_count_ publishes
  os::Atomic<int32_t> arena_count_{0};
  os::Atomic<size_t> out_{0};   // [lock_] writes
  os::Atomic<size_t> kept_{0};  // of memory, by free stacks
  Use use_[kStackClasses];
};

}  // namespace weft::runtime
