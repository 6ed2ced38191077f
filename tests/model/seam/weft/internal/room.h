// Rooms as the explorer has them: the objects themselves, since its atomics are larger. Found by
// its include path, in place of the header of the same name.
#pragma once

#include "runtime/sema.h"

namespace weft::internal {

class WaitQueueRoom {
 public:
  constexpr WaitQueueRoom() = default;
  void* raw() { return &queue_; }

 private:
  runtime::WaitQueue queue_;
};

class CoreLockRoom {
 public:
  constexpr CoreLockRoom() = default;
  void* raw() { return &lock_; }

 private:
  runtime::Lock lock_{runtime::LockRank::kWaitQueue};
};

}  // namespace weft::internal
