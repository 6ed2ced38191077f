// Sites: every memory order of the code under test, by name.
//
// In the real build `kAcquire<"runq.steal.head">` is a constant; here it is an object, which a
// mutation weakens without a rebuild.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::model {

enum class MemoryOrder : uint8_t { kRelaxed, kAcquire, kRelease, kAcqRel, kSeqCst };

inline bool Acquires(MemoryOrder order) {
  return order == MemoryOrder::kAcquire || order >= MemoryOrder::kAcqRel;
}
inline bool Releases(MemoryOrder order) {
  return order >= MemoryOrder::kRelease;
}
const char* OrderName(MemoryOrder order);

// How a site was used; bits.
enum SiteKind : uint8_t { kIsLoad = 1, kIsStore = 2, kIsRmw = 4, kIsFence = 8 };

struct Site {
  Site(const char* site_name, MemoryOrder site_order)
      : name(site_name), order(site_order), written(site_order), next(all) {
    all = this;
  }
  const char* const name;
  MemoryOrder order;          // in force
  const MemoryOrder written;  // as the code says
  uint8_t kinds = 0;          // filled in by the runs
  Site* const next;
  static Site* all;
};

// The orders one step weaker than `site`'s, as it is used. At most two; returns how many.
int Weaker(const Site& site, MemoryOrder out[2]);

}  // namespace weft::model
