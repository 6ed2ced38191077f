// Room in public objects for what the core has and public headers cannot see.
#pragma once

namespace weft::internal {

// For a runtime::WaitQueue: laid out as a new one, so that objects that hold it can be constants.
// sync/core.h knows how to look at it.
class WaitQueueRoom {
 public:
  constexpr WaitQueueRoom() = default;
  void* raw() { return bytes_; }

 private:
  static constexpr unsigned char kRank = 2;  // runtime::LockRank::kWaitQueue
  alignas(8) unsigned char bytes_[24] = {0, 0, 0, 0, 0, 0, kRank};
};

// The same for a runtime::Lock of that rank.
class CoreLockRoom {
 public:
  constexpr CoreLockRoom() = default;
  void* raw() { return bytes_; }

 private:
  static constexpr unsigned char kRank = 2;
  alignas(4) unsigned char bytes_[8] = {0, 0, 0, 0, 0, 0, kRank};
};

}  // namespace weft::internal
