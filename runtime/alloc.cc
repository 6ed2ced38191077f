#include "runtime/alloc.h"

#include <bit>

#include "runtime/fatal.h"
#include "runtime/os/memory.h"

namespace weft::runtime {

namespace {
constexpr size_t kChunkBytes = size_t{1} << 20;
constexpr int kSmallestShift = 4;
}  // namespace

int Allocator::ClassOf(size_t bytes) {
  if (bytes <= 16) return 0;
  return static_cast<int>(std::bit_width(bytes - 1)) - kSmallestShift;
}

void* Allocator::MapChunk(size_t bytes) {
  // A header of its own page's worth keeps the block 64-byte aligned.
  size_t total = bytes + 64;
  total = (total + os::PageSize() - 1) & ~(os::PageSize() - 1);
  void* memory = os::MapMemory(total);
  if (memory == nullptr) {
    Fatal("out of memory: the kernel gave no %u bytes for the runtime",
          static_cast<uint64_t>(total));
  }
  Chunk* chunk = static_cast<Chunk*>(memory);
  chunk->bytes = total;
  chunk->next = chunks_;
  chunks_ = chunk;
  mapped_.FetchAdd(total, os::kRelaxed<"alloc.mapped">);  // a counter
  return static_cast<char*>(memory) + 64;
}

void* Allocator::Allocate(size_t bytes) {
  int size_class = ClassOf(bytes);
  LockGuard guard(lock_);
  if (size_class >= kClasses) return MapChunk(bytes);
  if (FreeBlock* block = free_[size_class]; block != nullptr) {
    free_[size_class] = block->next;
    return block;
  }
  size_t rounded = size_t{1} << (size_class + kSmallestShift);
  if (rounded > kChunkBytes / 4) return MapChunk(rounded);
  uintptr_t align = rounded < 64 ? rounded : 64;
  bump_ = (bump_ + align - 1) & ~(align - 1);
  if (bump_ + rounded > bump_end_) {
    bump_ = reinterpret_cast<uintptr_t>(MapChunk(kChunkBytes));
    bump_end_ = bump_ + kChunkBytes;
  }
  void* block = reinterpret_cast<void*>(bump_);
  bump_ += rounded;
  return block;
}

void Allocator::Free(void* p, size_t bytes) {
  int size_class = ClassOf(bytes);
  LockGuard guard(lock_);
  // Larger ones than the classes hold are rare (a timer heap that grows): kept until the end.
  if (size_class >= kClasses) return;
  FreeBlock* block = static_cast<FreeBlock*>(p);
  block->next = free_[size_class];
  free_[size_class] = block;
}

void Allocator::UnmapAll() {
  Chunk* chunk = chunks_;
  while (chunk != nullptr) {
    Chunk* next = chunk->next;
    os::Unmap(chunk, chunk->bytes);
    chunk = next;
  }
  chunks_ = nullptr;
  bump_ = bump_end_ = 0;
  for (FreeBlock*& list : free_) list = nullptr;
  mapped_.Store(0, os::kRelaxed<"alloc.mapped.reset">);  // nobody else is left
}

}  // namespace weft::runtime
