// One io_uring for polling: SINGLE_ISSUER | DEFER_TASKRUN | TASKRUN_FLAG, multishot polls.
//
// Such a ring belongs to the thread that made it: only that one submits and reaps. Completions
// wait until it enters the ring, so they never disturb its other system calls; others see by
// poll(2) on the ring's descriptor that some are waiting.
#pragma once

#include <liburing.h>

#include <cstdint>

namespace weft::os {

struct UringEvent {
  uint64_t user_data;
  int result;  // poll mask, or -errno
  bool more;   // the multishot goes on
};

class Uring {
 public:
  // 0 or -errno. `completions`: how many may wait at once; beyond that the kernel keeps them in a
  // list and ends multishots.
  int Open(unsigned submissions, unsigned completions);
  void Close();
  int fd() const { return ring_.ring_fd; }

  // A multishot poll of `fd`. False: the submission queue is full; Enter(0) empties it.
  bool AddPoll(int fd, uint32_t mask, uint64_t user_data);
  // `own_data` names the removal's own completion (-ENOENT: there was none).
  bool RemovePoll(uint64_t user_data, uint64_t own_data);
  // Takes back everything that was added.
  bool RemoveAll(uint64_t user_data);

  // Something was added and not submitted.
  unsigned unsubmitted() const { return io_uring_sq_ready(&ring_); }
  // Entering would bring something, or something has come. Reads shared memory only.
  bool HasWork() const {
    return unsubmitted() != 0 || io_uring_cq_ready(&ring_) != 0 ||
           (IO_URING_READ_ONCE(*ring_.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) !=
               0;
  }
  // Submits, and lets what is ready complete. 0 or -errno (EAGAIN, EBUSY: reap and try again).
  int Enter();
  // As Enter, and sleeps until something completes, `timeout_ns` (< 0: for ever) passes or a
  // signal comes.
  int EnterAndWait(int64_t timeout_ns);

  // Takes up to `size` events out.
  unsigned Reap(UringEvent* out, unsigned size);

  // By its owner, once: from then on others' polls of the ring do not interrupt the owner.
  void ActivatePolling();

 private:
  io_uring ring_ = {};
};

}  // namespace weft::os
