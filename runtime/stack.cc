// The arena. Address space is reserved without access (it costs nothing, not even under
// mlockall or overcommit accounting), opened in groups, cut into equal stacks, each with a guard
// below it. A stack is 4 KiB of memory once a goroutine has run a little on it.
//
// The guard is there for frames: one that is larger than it steps over it into a neighbour's live
// frames, and nobody learns of it. So stacks on which C libraries may be called have 64 KiB, which
// takes the path and line buffers that those have; it lies outside of the size that was asked for.
//
// Below the lowest stack of an arena lies an apron that is never opened: a frame that steps over
// that stack's guard must not land in whatever the kernel mapped there. The first goroutine's stack
// is always the lowest of an arena.
#include "runtime/stack.h"

#include <algorithm>

#include "runtime/fatal.h"
#include "runtime/os/memory.h"
#include "runtime/sanitizer.h"

namespace weft::runtime {

namespace {
// 16 GiB: 65,536 default stacks; halved while the kernel refuses (RLIMIT_AS, overcommit 2).
constexpr size_t kArenaBytes = size_t{16} << 30;
// Opened at once: 64 default stacks, so that opening is 1/64 system call each.
constexpr size_t kGroupBytes = size_t{16} << 20;
// What free stacks may keep of memory, beyond a page each: 16,384 that a goroutine has run a little
// on, or 256 default stacks that were used to their end (chosen: a burst's worth).
constexpr size_t kKeepBytes = size_t{64} << 20;
// How much of a stack was touched the kernel tells in 0.65 us: a fifth of a short goroutine's life.
// So one of 61 is measured and stands for the others; of large stacks, each one. A prime, lest
// always the same of a program's goroutines be met.
constexpr uint32_t kMeasureOneOf = 61;
constexpr size_t kMeasureAllAbove = size_t{256} << 10;

// 64 KiB: what the largest buffers on C libraries' stacks take. Chosen against 4 KiB by measuring:
// the kernel installs 1 or 16 pages of guard in 0.5 to 0.9 us alike. Smaller stacks are asked for
// where there are many of them, and would be mostly guard.
constexpr size_t kFullGuard = size_t{64} << 10;
constexpr size_t kSmallestWithFullGuard = size_t{128} << 10;

// The apron, and how far below a stack a fault is taken for its overflow: a stack's length, as no
// frame that ever returned is larger; at least 1 MiB (chosen), for buffers made for larger stacks.
constexpr size_t Reach(size_t stack_bytes) {
  return std::max(stack_bytes, size_t{1} << 20);
}
}  // namespace

int StackClassOf(size_t bytes) {
  if (bytes == 0) bytes = kDefaultStack;
  if (bytes > kLargestStack) {
    Fatal("a goroutine's stack of %u bytes is asked for; %u is the most",
          static_cast<uint64_t>(bytes), static_cast<uint64_t>(kLargestStack));
  }
  int size_class = SmallestStackClass(os::PageSize());
  while (StackClassBytes(size_class) < bytes) size_class++;
  const bool default_is_less = StackClassBytes(size_class) > kDefaultStack &&
                               size_class > SmallestStackClass(os::PageSize());
  return default_is_less && bytes <= kDefaultStack ? kDefaultStackClass : size_class;
}

size_t StackGuardBytes(int size_class) {
  const size_t page = os::PageSize();
  return StackClassBytes(size_class) < kSmallestWithFullGuard ? page : std::max(page, kFullGuard);
}

StackPool::Arena* StackPool::NewArena(int size_class) {
  // Acquire is not needed: arenas are added under the lock only.
  int32_t n = arena_count_.Load(os::kRelaxed<"stack.arenas.own">);
  if (n == kMaxArenas) return nullptr;
  const size_t apron = Reach(StackClassBytes(size_class));
  const size_t least = StackGuardBytes(size_class) + StackClassBytes(size_class);
  for (size_t bytes = kArenaBytes; bytes >= least; bytes /= 2) {
    void* start = os::ReserveAddressSpace(apron + bytes);
    if (start == nullptr) continue;
    Arena& arena = arenas_[n];
    arena.start = reinterpret_cast<uintptr_t>(start);
    arena.opened = arena.next = arena.start + apron;
    arena.end = arena.next + bytes;
    // Pairs with IsArenaAddress.
    arena_count_.Store(n + 1, os::kRelease<"stack.arenas.publish">);
    return &arena;
  }
  return nullptr;
}

Stack StackPool::Cut(int size_class) {
  const size_t guard = StackGuardBytes(size_class);
  const size_t bytes = guard + StackClassBytes(size_class);
  Arena* arena = current_[size_class];
  if (arena == nullptr || arena->next + bytes > arena->end) {
    arena = current_[size_class] = NewArena(size_class);
    if (arena == nullptr) {
      Fatal(
          "no address space for a goroutine's stack of %u bytes (RLIMIT_AS? "
          "vm.overcommit_memory=2?); %u bytes of stacks are in use",
          static_cast<uint64_t>(StackClassBytes(size_class)), static_cast<uint64_t>(bytes_out()));
    }
  }
  if (arena->next + bytes > arena->opened) {
    size_t group = bytes > kGroupBytes ? bytes : kGroupBytes;
    if (group > arena->end - arena->opened) group = arena->end - arena->opened;
    int error = os::OpenPages(reinterpret_cast<void*>(arena->opened), group);
    if (error != 0) {
      Fatal(
          "no memory for a goroutine's stack: mprotect: error %u; %u bytes of stacks are in "
          "use",
          static_cast<uint64_t>(-error), static_cast<uint64_t>(bytes_out()));
    }
    arena->opened += group;
  }
  int error = os::InstallGuard(reinterpret_cast<void*>(arena->next), guard);
  if (error != 0) {
    Fatal(
        "no guard for a goroutine's stack: error %u (each guard needs a mapping on this "
        "kernel: raise vm.max_map_count); %u bytes of stacks are in use",
        static_cast<uint64_t>(-error), static_cast<uint64_t>(bytes_out()));
  }
  Stack stack = {arena->next + guard, arena->next + bytes};
  arena->next = stack.hi;
  return stack;
}

Stack StackPool::Take(int size_class) {
  // A counter, written under the lock.
  out_.FetchAdd(StackClassBytes(size_class), os::kRelaxed<"stack.out.take">);
  Free_* free = free_[size_class];
  if (free == nullptr) return Cut(size_class);
  free_[size_class] = free->next;
  kept_.FetchSub(free->kept, os::kRelaxed<"stack.kept.take">);  // a counter
  return {free->lo, free->lo + StackClassBytes(size_class)};
}

size_t StackPool::Touched(Stack stack, int size_class) {
  Use& use = use_[size_class];
  const size_t bytes = stack.hi - stack.lo;
  // Both are estimates that hand nothing on.
  const size_t last = use.touched.Load(os::kRelaxed<"stack.touched.read">);
  const uint32_t turn = use.turn.FetchAdd(1, os::kRelaxed<"stack.touched.turn">);
  if (bytes <= kMeasureAllAbove && turn % kMeasureOneOf != 0) return last;
  const size_t resident = os::ResidentBytes(reinterpret_cast<void*>(stack.lo), bytes);
  // Up at once and down by halves: where deep ones are among others, rather released than kept.
  const size_t touched = std::max(resident, (last + resident) / 2);
  use.touched.Store(touched, os::kRelaxed<"stack.touched.write">);  // as above
  return bytes <= kMeasureAllAbove ? touched : resident;
}

StackPool::Free_* StackPool::Retire(Stack stack, int size_class) {
  UnpoisonStack(stack.lo, stack.hi);
  size_t kept = Touched(stack, size_class);
  // A counter; who finds it too high takes itself back, which may refuse another for nothing.
  if (kept_.FetchAdd(kept, os::kRelaxed<"stack.kept.add">) + kept > kKeepBytes) {
    kept_.FetchSub(kept, os::kRelaxed<"stack.kept.refused">);  // as above
    kept = 0;
    const uintptr_t last_page = stack.hi - os::PageSize();  // the header's
    os::ReleasePages(reinterpret_cast<void*>(stack.lo), last_page - stack.lo);
  }
  Free_* free = reinterpret_cast<Free_*>(stack.hi) - 1;
  free->lo = stack.lo;
  free->kept = kept;
  return free;
}

void StackPool::Give(Free_* free, int size_class) {
  // A counter, written under the lock.
  out_.FetchSub(StackClassBytes(size_class), os::kRelaxed<"stack.out.give">);
  free->next = free_[size_class];
  free_[size_class] = free;
}

Stack StackPool::Allocate(int size_class) {
  LockGuard guard(lock_);
  return Take(size_class);
}

void StackPool::Free(Stack stack, int size_class) {
  Free_* free = Retire(stack, size_class);
  LockGuard guard(lock_);
  Give(free, size_class);
}

void StackPool::Refill(StackCache* cache, int size_class) {
  LockGuard guard(lock_);
  // Fresh stacks are cut as they are needed, one at a time: a guard costs 0.8 us.
  do {
    cache->Push(Take(size_class));
  } while (cache->size() < StackCache::kCapacity / 2 && free_[size_class] != nullptr);
}

void StackPool::Drain(StackCache* cache, int size_class, int keep) {
  // The kernel's part before the lock is taken.
  Free_* retired[StackCache::kCapacity];
  int n = 0;
  Stack stack;
  while (cache->size() > keep && cache->Pop(&stack)) retired[n++] = Retire(stack, size_class);
  LockGuard guard(lock_);
  for (int i = 0; i < n; i++) Give(retired[i], size_class);
}

bool StackPool::IsArenaAddress(uintptr_t address) const {
  // Pairs with NewArena: the entries below it are written.
  int32_t n = arena_count_.Load(os::kAcquire<"stack.arenas.read">);
  for (int32_t i = 0; i < n; i++) {
    if (address >= arenas_[i].start && address < arenas_[i].end) return true;
  }
  return false;
}

bool StackPool::IsOverflow(Stack stack, uintptr_t address) const {
  return address < stack.lo && address + Reach(stack.hi - stack.lo) >= stack.lo &&
         IsArenaAddress(address);
}

void StackPool::UnmapUnopened() {
  int32_t n = arena_count_.Load(os::kRelaxed<"stack.arenas.trim">);  // nobody else is left
  for (int32_t i = 0; i < n; i++) {
    Arena& arena = arenas_[i];
    os::Unmap(reinterpret_cast<void*>(arena.opened), arena.end - arena.opened);
  }
}

void StackPool::UnmapAll() {
  int32_t n = arena_count_.Load(os::kRelaxed<"stack.arenas.unmap">);  // nobody else is left
  for (int32_t i = 0; i < n; i++) {
    // Of goroutines that were abandoned; another runtime may get the same addresses.
    UnpoisonStack(arenas_[i].start, arenas_[i].opened);
    os::Unmap(reinterpret_cast<void*>(arenas_[i].start), arenas_[i].end - arenas_[i].start);
    arenas_[i] = Arena();
  }
  arena_count_.Store(0, os::kRelaxed<"stack.arenas.reset">);  // as above
  kept_.Store(0, os::kRelaxed<"stack.kept.reset">);           // as above
  for (int i = 0; i < kStackClasses; i++) {
    free_[i] = nullptr;
    current_[i] = nullptr;
  }
}

}  // namespace weft::runtime
