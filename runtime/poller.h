// What the scheduler asks of the netpoller, which lies above it: filled in at start.
#pragma once

#include <cstdint>

#include "runtime/g.h"
#include "runtime/m.h"

namespace weft::runtime {

struct Poller {
  // What is ready now, without sleeping. The M holds a P.
  GQueue (*poll)(M* m);
  // How an M that runs dry shall sleep: kOnRing, kOnShared or kOnFutex. It then calls sleep or,
  // when it does not sleep after all, done_sleeping.
  MSleep (*choose_sleep)(M* m);
  // Sleeps until something is ready, wake(m), or `timeout_ns` (< 0: none) has passed.
  GQueue (*sleep)(M* m, MSleep how, int64_t timeout_ns);
  void (*done_sleeping)(M* m, MSleep how);
  void (*wake)(M* m, MSleep how);
  // From sysmon: what nobody attends to. Goroutines that became ready. `*look_soon`: a ring waits,
  // and its time is not up.
  GQueue (*sysmon)(int64_t now, bool* look_soon);
  // The M ends: its ring's descriptors move.
  void (*exit_m)(M* m);
  // Something is watched for in the shared set, and no M sleeps where it would learn of it.
  bool (*is_unwatched)();
  // A ring has descriptors, and its owner does not sleep in it.
  bool (*has_left_ring)();
  int (*descriptors)();
};

}  // namespace weft::runtime
