// The heap in a run: what is left of it when the run is left in its middle must not stay, and a
// run's addresses must not depend on the runs before.
#include <cstdlib>
#include <new>

#include "tests/model/engine.h"

namespace weft::model {

namespace {

constexpr size_t kHeapBytes = size_t{1} << 20;
alignas(64) char heap[kHeapBytes];
size_t heap_used = 0;

bool IsInHeap(const void* p) {
  return p >= heap && p < heap + kHeapBytes;
}

void* Allocate(size_t bytes, size_t alignment) {
  if (!InRun()) {
    void* p = aligned_alloc(alignment, (bytes + alignment - 1) & ~(alignment - 1));
    if (p == nullptr) abort();
    return p;
  }
  const size_t at = (heap_used + alignment - 1) & ~(alignment - 1);
  heap_used = at + bytes;
  if (heap_used > kHeapBytes) Fail("limit", "a run needs more than %zu bytes", kHeapBytes);
  return heap + at;
}

void Release(void* p) {
  if (!IsInHeap(p)) free(p);
}

}  // namespace

void ResetHeap() {
  heap_used = 0;
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
