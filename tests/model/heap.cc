// The heap in a run: what is left of it when the run is left in its middle must not stay, and a
// run's addresses must not depend on the runs before.
#include <cstdlib>
#include <new>

#include "tests/model/engine.h"

namespace weft::model {

namespace {

constexpr size_t kHeapBytes = size_t{1} << 20;
// Each thread has its own part: an address depends on nothing but its thread's history.
alignas(64) char heap[kMostThreads][kHeapBytes];
size_t heap_used[kMostThreads];

bool IsInHeap(const void* p) {
  return p >= heap && p < heap + kMostThreads;
}

void* Allocate(size_t bytes, size_t alignment) {
  if (!InRun()) {
    void* p = aligned_alloc(alignment, (bytes + alignment - 1) & ~(alignment - 1));
    if (p == nullptr) abort();
    return p;
  }
  const int self = engine.running->id;
  const size_t at = (heap_used[self] + alignment - 1) & ~(alignment - 1);
  heap_used[self] = at + bytes;
  if (heap_used[self] > kHeapBytes) Fail("limit", "a thread needs more than %zu bytes", kHeapBytes);
  return heap[self] + at;
}

void Release(void* p) {
  if (!IsInHeap(p)) free(p);
}

}  // namespace

void ResetHeap() {
  for (size_t& used : heap_used) used = 0;
}

}  // namespace weft::model

void* operator new(size_t bytes) {
  return weft::model::Allocate(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
void* operator new(size_t bytes, std::align_val_t alignment) {
  return weft::model::Allocate(bytes, static_cast<size_t>(alignment));
}
void operator delete(void* p) noexcept {
  weft::model::Release(p);
}
void operator delete(void* p, size_t) noexcept {
  weft::model::Release(p);
}
void operator delete(void* p, std::align_val_t) noexcept {
  weft::model::Release(p);
}
void operator delete(void* p, size_t, std::align_val_t) noexcept {
  weft::model::Release(p);
}
