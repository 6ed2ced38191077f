// The netpoller's parts to each other: the state of one runtime's netpoller, its rings and its
// shared set.
#pragma once

#include <cstdint>

#include "netpoll/desc.h"
#include "runtime/m.h"
#include "runtime/os/epoll.h"
#include "runtime/os/uring.h"
#include "runtime/sched.h"

namespace weft::netpoll {

// What a descriptor is polled for.
inline constexpr uint32_t kBothModes = os::kPollIn | os::kPollOut | os::kPollReadHangUp;
inline constexpr int kRingsPerP = 4;
inline constexpr int kMaxRings = os::Scaled(4096, 2);
// Connections may leave a ring faster than its owner removes their polls; then they stay.
inline constexpr int kMostLeft = 64;

// One M's ring; it stays with the M's struct. Rules of access: [t] the owner's thread   [l] under
// lock   [a] atomic   [c] constant
struct Ring {
  os::Uring uring;              // [t]
  runtime::M* owner = nullptr;  // [c]
  bool open = false;            // [t]
  bool refused = false;         // [t] the kernel would not open it
  bool lost = false;            // [t] the kernel dropped a completion
  uint64_t awaited = 0;         // [t] token of a poll whose last report is waited for
  int wake_fd = -1;             // [c] an eventfd that the ring polls
  runtime::Lock lock{runtime::LockRank::kRing};
  os::Plain<Desc*> descs = nullptr;      // [l] those that it polls
  os::Plain<Desc*> closing = nullptr;    // [l] closed by other Ms: their polls are to be removed
  os::Atomic<bool> has_requests{false};  // [a] a hint for `closing` and `left`
  uint64_t left[kMostLeft] = {};         // [l] tokens of polls that are to be removed
  int32_t left_count = 0;                // [l]
  os::Atomic<int32_t> count{0};          // [l] writes: length of descs
  os::Atomic<bool> moved{false};         // [a] its polls are to be removed, by the owner
  os::Atomic<uint32_t> entered{0};       // [t] writes: how often it was entered
  os::Atomic<bool> asleep{false};        // [t] writes: the owner sleeps in it
  os::Atomic<bool> unsubmitted{false};   // [t] writes: polls the kernel has not seen
  // sysmon's notes
  uint32_t seen_entered = 0;
  int64_t waiting_since = 0;
};

// One runtime's netpoller.
struct Netpoll {
  bool use_rings = false;                           // [c]
  int refused = 0;                                  // [c] why not: -errno, 0: not wanted
  os::Epoll shared;                                 // any thread
  int shared_wake_fd = -1;                          // [c]
  os::Atomic<int32_t> shared_count{0};              // [a] descriptors in it
  os::Atomic<runtime::M*> shared_watcher{nullptr};  // [a] the M that sleeps in it
  os::Atomic<uint32_t> shared_reads{0};             // [a] how often it was read, about
  uint32_t seen_reads = 0;                          // sysmon's
  int64_t seen_reads_when = 0;                      // sysmon's
  os::Atomic<int32_t> desc_count{0};                // [a] open descriptors
  runtime::Lock pool_lock{runtime::LockRank::kRing};
  Desc* pool = nullptr;                     // [pool_lock]
  os::Atomic<Ring*> rings[kMaxRings] = {};  // [a] those that are open
};
extern Netpoll* the_netpoll;
inline Netpoll* Np() {
  return the_netpoll;
}

// ---- desc pool (registry.cc) ----
Desc* AllocateDesc();
void FreeDesc(Desc* d);
// Frees `d`: reports for this use are not for the next.
void EndUse(Desc* d);
// Somebody idle shall watch the shared set, which has just got something, if nobody does.
void WatchShared();

// Makes the kernel report on `d`; 0 or -errno. In the caller's M's ring or the shared set.
int Register(Desc* d);
int RegisterShared(Desc* d);  // d->lock held
// Takes it out, frees it. m->locks > 0.
void Unregister(runtime::M* m, Desc* d, bool descriptor_lives_on);

// ---- shared set (shared.cc) ----
// Reads what is ready, sleeping at most `timeout_ns`; adds to `out`.
void ReadShared(int64_t timeout_ns, runtime::GQueue* out);

// ---- rings (ring.cc) ----
// This M's ring, made if it may have one; null: none.
Ring* RingOf(runtime::M* m);
// By the owner. False: the ring takes no more.
bool AddToRing(Ring* r, Desc* d);
// By a reader that is about to wait, on an M that is not the owner of `from`, the ring that `d` is
// in: `d` goes to this M's ring, if both have room. m->locks > 0.
void Rehome(runtime::M* m, Desc* d, Ring* from);
// By the owner: what has completed. `sleep`: waits for it, at most `timeout_ns` (< 0: for ever).
void ReadRing(Ring* r, int64_t timeout_ns, bool sleep, runtime::GQueue* out);
// For who closes `d` (its lock held): out of the ring that it is in; false: in none. `own`: it is
// `m`'s, and RemovePollNow must follow. Else its owner frees `d`: not to be touched any more; and
// `wake_owner`: WakeM must follow.
bool TakeFromRing(runtime::M* m, Desc* d, bool* own, bool* wake_owner);
// What follows for a closer that is the owner: true when the kernel has let go of the file.
bool RemovePollNow(Ring* r, Desc* d, runtime::GQueue* out);
// Moves all descriptors of `r` to the shared set. Any thread.
void MoveToShared(Ring* r, runtime::GQueue* out);
void CloseRing(Ring* r, runtime::GQueue* out);
// What sysmon does for rings whose owners do not enter them. True: one waits while others could
// serve it, and its time is not up.
bool WatchRings(int64_t now, runtime::GQueue* out);
struct RingsState {
  bool any_asleep;  // an owner sleeps in its ring, and so watches the shared set
  bool any_left;    // a ring with descriptors whose owner does not sleep in it
};
RingsState LookAtRings();

const runtime::Poller* ThePoller();

}  // namespace weft::netpoll
