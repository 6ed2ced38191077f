// The runtime's own memory: page runs from the kernel, cut by bump pointer, reused by size class.
// Nothing in the core calls malloc: its holder may be stopped while the runtime runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "runtime/lock.h"

namespace weft::runtime {

class Allocator {
 public:
  // 16-byte aligned (64 from 64 bytes on), zeroed only when fresh. Fatal when the kernel gives
  // nothing. Any thread; up to 1 MiB comes from size classes (powers of two), more is mapped.
  void* Allocate(size_t bytes);
  void Free(void* p, size_t bytes);  // what was asked for

  template <class T, class... Args>
  T* New(Args&&... args) {
    return new (Allocate(sizeof(T))) T(std::forward<Args>(args)...);
  }

  size_t mapped_bytes() const { return mapped_.Load(os::kRelaxed<"alloc.mapped.read">); }

  // Gives everything back; nothing allocated may be used any more.
  void UnmapAll();

 private:
  static constexpr int kClasses = 21;
  struct FreeBlock {
    FreeBlock* next;
  };
  struct Chunk {
    Chunk* next;
    size_t bytes;
  };
  void* MapChunk(size_t bytes);
  static int ClassOf(size_t bytes);

  Lock lock_{LockRank::kAllocator};
  FreeBlock* free_[kClasses] = {};  // [lock_]
  uintptr_t bump_ = 0;              // [lock_]
  uintptr_t bump_end_ = 0;          // [lock_]
  Chunk* chunks_ = nullptr;         // [lock_]
  os::Atomic<size_t> mapped_{0};
};

}  // namespace weft::runtime
