#include "runtime/os/uring.h"

#include <errno.h>

#include "runtime/os/epoll.h"
#include "runtime/os/fault.h"

namespace weft::os {

int Uring::Open(unsigned submissions, unsigned completions) {
  if (int error = InjectedFault(FaultPoint::kUringSetup); error != 0) return -error;
  io_uring_params params = {};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  params.cq_entries = completions;
  int error = io_uring_queue_init_params(submissions, &ring_, &params);
  if (error != 0) return error;
  if ((params.features & IORING_FEAT_EXT_ARG) == 0) {
    io_uring_queue_exit(&ring_);
    return -ENOSYS;
  }
  // Saves the kernel a look-up at each enter; refused: it works without.
  io_uring_register_ring_fd(&ring_);
  return 0;
}

void Uring::Close() {
  io_uring_queue_exit(&ring_);
}

bool Uring::AddPoll(int fd, uint32_t mask, uint64_t user_data) {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) return false;
  io_uring_prep_poll_multishot(sqe, fd, mask);
  io_uring_sqe_set_data64(sqe, user_data);
  return true;
}

bool Uring::RemovePoll(uint64_t user_data, uint64_t own_data) {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) return false;
  // Not IORING_OP_POLL_REMOVE: it fails with EALREADY when an event waits to be delivered.
  io_uring_prep_cancel64(sqe, user_data, 0);
  io_uring_sqe_set_data64(sqe, own_data);
  return true;
}

bool Uring::RemoveAll(uint64_t user_data) {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) return false;
  io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
  io_uring_sqe_set_data64(sqe, user_data);
  return true;
}

int Uring::Enter() {
  if (int error = InjectedFault(FaultPoint::kUringEnter); error != 0) return -error;
  int n = io_uring_submit_and_get_events(&ring_);
  return n < 0 ? n : 0;
}

int Uring::EnterAndWait(int64_t timeout_ns) {
  if (int error = InjectedFault(FaultPoint::kUringEnter); error != 0) return -error;
  int n = 0;
  if (timeout_ns < 0) {
    n = io_uring_submit_and_wait(&ring_, 1);
  } else {
    __kernel_timespec timeout = {.tv_sec = timeout_ns / 1'000'000'000,
                                 .tv_nsec = timeout_ns % 1'000'000'000};
    io_uring_cqe* first = nullptr;
    n = io_uring_submit_and_wait_timeout(&ring_, &first, 1, &timeout, nullptr);
  }
  return n < 0 && n != -ETIME && n != -EINTR ? n : 0;
}

unsigned Uring::Reap(UringEvent* out, unsigned size) {
  unsigned head = 0;
  unsigned n = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    if (n == size) break;
    out[n++] = {cqe->user_data, cqe->res, (cqe->flags & IORING_CQE_F_MORE) != 0};
  }
  io_uring_cq_advance(&ring_, n);
  return n;
}

void Uring::ActivatePolling() {
  static_cast<void>(IsReady(fd(), kPollIn));
}

}  // namespace weft::os
