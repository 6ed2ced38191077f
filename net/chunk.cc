// The pool behind io::Chunk: each P keeps a few free buffers of each class, last in, first out,
// so that a busy server reads into memory that its cache still holds.
//
// A P's lists are used by its M alone, inside a runtime entry, so they need no lock. What finds
// its list empty or full, and every plain thread, goes to malloc: a P that only takes while
// another only gives costs a malloc a buffer, no more. Sanitizers see malloc and free each time.
#include <bit>
#include <cstdint>
#include <cstdlib>

#include "runtime/fatal.h"
#include "runtime/sanitizer.h"
#include "runtime/sched.h"
#include "weft/io.h"

namespace weft::io {

namespace {

constexpr int kClasses = 5;  // 4, 8, 16, 32, 64 KiB
constexpr int kMinShift = std::countr_zero(Chunk::kMinPooled);
static_assert(Chunk::kMinPooled << (kClasses - 1) == Chunk::kMaxPooled);

// Chosen: a P keeps at most 128 KiB of each class, enough for 32 handlers that each hold a small
// chunk at one moment.
constexpr uint32_t kKeptBytes = 128u << 10;

#if defined(WEFT_ASAN) || defined(WEFT_TSAN)
constexpr bool kPooling = false;
#else
constexpr bool kPooling = true;
#endif

struct FreeBuffer {
  FreeBuffer* next;
};

struct FreeList {
  FreeBuffer* head = nullptr;
  uint32_t count = 0;
};

struct alignas(64) Cache {
  FreeList lists[kClasses];
};

Cache caches[runtime::kMaxProcs];  // by P; each is touched when its P first gives a buffer

int ClassOf(uint32_t capacity) {
  return std::countr_zero(capacity) - kMinShift;
}

// The calling M's list; null without a P.
FreeList* ListOf(const runtime::Entry& entry, uint32_t capacity) {
  runtime::M* m = entry.m();
  if (!kPooling || m == nullptr || m->p == nullptr) return nullptr;
  if (capacity > Chunk::kMaxPooled) return nullptr;
  return &caches[m->p->id].lists[ClassOf(capacity)];
}

char* TakeCached(uint32_t capacity) {
  runtime::Entry entry;
  FreeList* list = ListOf(entry, capacity);
  if (list == nullptr || list->head == nullptr) return nullptr;
  FreeBuffer* buffer = list->head;
  list->head = buffer->next;
  list->count--;
  return reinterpret_cast<char*>(buffer);
}

bool GiveCached(char* data, uint32_t capacity) {
  runtime::Entry entry;
  FreeList* list = ListOf(entry, capacity);
  if (list == nullptr || list->count >= kKeptBytes / capacity) return false;
  FreeBuffer* buffer = reinterpret_cast<FreeBuffer*>(data);
  buffer->next = list->head;
  list->head = buffer;
  list->count++;
  return true;
}

}  // namespace

Chunk Chunk::WithCapacity(size_t bytes) {
  WEFT_CHECK(bytes <= size_t{1} << 31);
  if (bytes < kMinPooled) bytes = kMinPooled;
  const uint32_t capacity = std::bit_ceil(static_cast<uint32_t>(bytes));
  char* data = TakeCached(capacity);
  if (data == nullptr) {
    data = static_cast<char*>(malloc(capacity));
    WEFT_CHECK(data != nullptr);  // out of memory
  }
  return Chunk(data, capacity);
}

void Chunk::GiveBack(char* data, uint32_t capacity) {
  if (!GiveCached(data, capacity)) free(data);
}

void Chunk::set_size(size_t size) {
  WEFT_CHECK(size <= capacity_);
  size_ = static_cast<uint32_t>(size);
}

}  // namespace weft::io
