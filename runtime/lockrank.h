// The order in which core locks may be taken: a thread that holds one takes only later ones.
//
// Debug builds (WEFT_LOCK_CHECKS) keep each thread's held locks and end the process at the first
// lock out of order. Two locks of one rank are taken only where the note says so.
#pragma once

#include <cstdint>

namespace weft::runtime {

class Lock;

// rank          note
#define WEFT_LOCK_RANKS(R)                                                  \
  R(kNetDesc, "one descriptor's deadlines")                                 \
  R(kContext, "one context's children; a parent's before its child's")      \
  R(kWaitQueue, "one queue of a mutex, cond, wait group")                   \
  R(kTimerOwner, "one public timer")                                        \
  R(kChan, "one channel; a select takes several in the order of their ids") \
  R(kRing, "one ring's list of descriptors")                                \
  R(kSched, "the global queue, idle Ms and Ps")                             \
  R(kAllGs, "the list of all goroutines")                                   \
  R(kDeadGs, "the global list of dead goroutines")                          \
  R(kTimers, "one P's timer heap; a retired P's before P 0's")              \
  R(kStackPool, "stacks that no P holds")                                   \
  R(kAllocator, "the runtime's own memory")                                 \
  R(kPollSlot, "whose poll slot an M's is")                                 \
  R(kDump, "one dump at a time")

enum class LockRank : uint8_t {
#define WEFT_LOCK_RANK_ENUM(name, note) name,
  WEFT_LOCK_RANKS(WEFT_LOCK_RANK_ENUM)
#undef WEFT_LOCK_RANK_ENUM
};

const char* LockRankName(LockRank rank);

#ifdef WEFT_LOCK_CHECKS
void NoteAcquired(const Lock* lock, LockRank rank);
void NoteReleased(const Lock* lock, LockRank rank);
bool ThisThreadHolds(const Lock* lock);
#else
inline void NoteAcquired(const Lock*, LockRank) {}
inline void NoteReleased(const Lock*, LockRank) {}
#endif

}  // namespace weft::runtime
