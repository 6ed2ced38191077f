#include "runtime/os/memory.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102  // linux/mman.h of 6.13
#endif

namespace weft::os {

namespace {

// Asks the kernel to read 8 bytes at `page`: EFAULT is how a guard shows without a signal.
bool Readable(const void* page) {
  int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) return true;
  bool readable = write(fd, page, 8) == 8 || errno != EFAULT;
  close(fd);
  return readable;
}

bool ProbeGuardInstall() {
  size_t page = PageSize();
  void* memory = MapMemory(page);
  if (memory == nullptr) return false;
  *static_cast<volatile uint64_t*>(memory) = 1;
  bool works = madvise(memory, page, MADV_GUARD_INSTALL) == 0 && !Readable(memory);
  munmap(memory, page);
  return works;
}

}  // namespace

size_t PageSize() {
  static const size_t size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

void* MapMemory(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

void* ReserveAddressSpace(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  // A goroutine that touched one page would be given 2 MiB.
  madvise(p, bytes, MADV_NOHUGEPAGE);
  return p;
}

int OpenPages(void* start, size_t bytes) {
  return mprotect(start, bytes, PROT_READ | PROT_WRITE) == 0 ? 0 : -errno;
}

void Unmap(void* start, size_t bytes) {
  munmap(start, bytes);
}

void ReleasePages(void* start, size_t bytes) {
  madvise(start, bytes, MADV_DONTNEED);
}

size_t ResidentBytes(void* start, size_t bytes) {
  const size_t page = PageSize();
  char* at = static_cast<char*>(start);
  char* const end = at + bytes;
  size_t resident = 0;
  while (at < end) {
    unsigned char pages[512];
    const size_t step = std::min(static_cast<size_t>(end - at), sizeof(pages) * page);
    if (mincore(at, step, pages) != 0) return bytes;
    for (size_t i = 0; i < step / page; i++) resident += (pages[i] & 1) != 0 ? page : 0;
    at += step;
  }
  return resident;
}

bool GuardsAreCheap() {
  static const bool cheap = ProbeGuardInstall();
  return cheap;
}

int InstallGuard(void* start, size_t bytes) {
  int failed = GuardsAreCheap() ? madvise(start, bytes, MADV_GUARD_INSTALL)
                                : mprotect(start, bytes, PROT_NONE);
  return failed == 0 ? 0 : -errno;
}

}  // namespace weft::os
