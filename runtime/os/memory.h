// Address space and pages.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::os {

size_t PageSize();

// Readable, writable, zeroed memory; null when the kernel refuses. Never huge pages' worth more
// than asked: NORESERVE, committed by first touch.
void* MapMemory(size_t bytes);

// Address space without access. OpenPages makes part of it readable and writable: 0 or -errno.
void* ReserveAddressSpace(size_t bytes);
int OpenPages(void* start, size_t bytes);

void Unmap(void* start, size_t bytes);

// Gives the pages' memory back; they read as zero afterwards. Guards stay.
void ReleasePages(void* start, size_t bytes);

// How many of the bytes have memory; all of them when the kernel does not say.
size_t ResidentBytes(void* start, size_t bytes);

// Makes pages fault on access. MADV_GUARD_INSTALL where its effect was seen at the first call
// (kernel 6.13; some emulators accept and ignore it), mprotect elsewhere: that splits the mapping,
// and vm.max_map_count ends it at about half as many guards, however long they are. 0 or -errno.
int InstallGuard(void* start, size_t bytes);
bool GuardsAreCheap();  // no mapping each

}  // namespace weft::os
