#include "runtime/lock.h"

#include "runtime/fatal.h"
#include "runtime/m.h"

namespace weft::runtime {

namespace {
// A holder is done within tens of nanoseconds unless it lost its CPU: longer spinning is waste.
constexpr int kSpins = os::Scaled(30, 1);
constexpr int64_t kLookAgain_ns = 1'000'000;
}  // namespace

void Lock::AcquireSlow() {
  for (int i = 0; i < kSpins; i++) {
    arch::CpuRelax();
    uint32_t free = 0;
    // A look first: a CAS would take the line from the holder.
    if (held_.Load(os::kRelaxed<"lock.spin">) == 0 &&
        held_.CompareExchange(free, 1, os::kAcquire<"lock.acquire.spin">)) {
      return;
    }
  }
  sleepers_.FetchAdd(1, os::kRelaxed<"lock.sleepers.add">);  // step 2; ordered by step 3
  // A filter installed since the start may refuse it: then a release may be missed, and is looked
  // for.
  int64_t patience = os::Membarrier() ? -1 : kLookAgain_ns;
  for (;;) {
    uint32_t seen = 0;
    // 2: others may sleep too.
    if (held_.CompareExchange(seen, 2, os::kAcquire<"lock.acquire.slept">)) break;
    // Found by ReleaseLast; nothing is read under the mark.
    if (seen == 1 && !held_.CompareExchange(seen, 2, os::kRelaxed<"lock.mark">)) continue;
    os::FutexWait(held_, 2, patience);
  }
  sleepers_.FetchSub(1, os::kRelaxed<"lock.sleepers.sub">);  // by the holder: before its release
}

void Lock::WakeSleeper() {
  os::FutexWake(held_, 1);
}

void Lock::AssertHeld() const {
  // By whom is known in builds that check ranks.
  if (held_.Load(os::kRelaxed<"lock.assert">) == 0) {
    Fatal("lock %s is not held", LockRankName(rank_));
  }
#ifdef WEFT_LOCK_CHECKS
  if (!ThisThreadHolds(this)) Fatal("lock %s is held by another thread", LockRankName(rank_));
#endif
}

const char* LockRankName(LockRank rank) {
  switch (rank) {
#define WEFT_LOCK_RANK_NAME(name, note) \
  case LockRank::name:                  \
    return #name;
    WEFT_LOCK_RANKS(WEFT_LOCK_RANK_NAME)
#undef WEFT_LOCK_RANK_NAME
  }
  return "no such rank";
}

#ifdef WEFT_LOCK_CHECKS
namespace {

constexpr int kMostHeld = 256;  // a select holds one for each channel
struct Held {
  int count = 0;
  bool reporting = false;
  struct {
    const Lock* lock;
    LockRank rank;
  } entry[kMostHeld];
};
// Locks are released by the thread that took them: a channel's, too, which is released on
// another goroutine's stack but the same thread.
thread_local Held held;

// Out of line, so that the thread's address is not kept over a switch.
[[gnu::noinline]] Held* ThreadHeld() {
  asm volatile("");
  return &held;
}

bool MayBeTakenTogether(LockRank rank) {
  return rank == LockRank::kChan || rank == LockRank::kContext || rank == LockRank::kTimers;
}

}  // namespace

void NoteAcquired(const Lock* lock, LockRank rank) {
  Held* h = ThreadHeld();
  if (h->reporting) return;
  if (h->count > 0) {
    LockRank last = h->entry[h->count - 1].rank;
    if (last > rank || (last == rank && !MayBeTakenTogether(rank))) {
      h->reporting = true;
      Fatal("lock order: %s taken while %s is held", LockRankName(rank), LockRankName(last));
    }
  }
  if (h->count < kMostHeld) h->entry[h->count] = {lock, rank};
  h->count++;
}

void NoteReleased(const Lock* lock, LockRank) {
  Held* h = ThreadHeld();
  if (h->reporting) return;
  for (int i = h->count - 1; i >= 0; i--) {
    if (h->entry[i].lock != lock) continue;
    for (int k = i; k + 1 < h->count; k++) h->entry[k] = h->entry[k + 1];
    h->count--;
    return;
  }
  h->reporting = true;
  Fatal("lock released by a thread that does not hold it");
}

bool ThisThreadHolds(const Lock* lock) {
  Held* h = ThreadHeld();
  for (int i = 0; i < h->count; i++) {
    if (h->entry[i].lock == lock) return true;
  }
  return false;
}
#endif

}  // namespace weft::runtime
