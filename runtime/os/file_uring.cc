#include "runtime/os/file_uring.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/os/clock.h"
#include "runtime/os/thread.h"

namespace weft::os {

int FileUring::Init() {
  // Completions are posted when the owner enters the ring, so that they never disturb it; before
  // Linux 6.1 that does not exist and a plain ring serves.
  int error = io_uring_queue_init(kEntries, &ring_,
                                  IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
  if (error == -EINVAL) error = io_uring_queue_init(kEntries, &ring_, 0);
  if (error != 0) return error;
  event_fd_ = eventfd(0, EFD_CLOEXEC);
  if (event_fd_ < 0) {
    error = -errno;
    io_uring_queue_exit(&ring_);
    return error;
  }
  wake_armed_ = false;
  return 0;
}

void FileUring::CloseRing() {
  io_uring_queue_exit(&ring_);
}

void FileUring::CloseWake() {
  close(event_fd_);
  event_fd_ = -1;
}

io_uring_sqe* FileUring::NewEntry(uint64_t tag) {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  if (entry == nullptr) Abort();  // more than kMaxCalls
  entry->user_data = tag;
  return entry;
}

void FileUring::Prepare(const FileCall& call, uint64_t tag) {
  io_uring_sqe* entry = NewEntry(tag);
  switch (call.op) {
    case FileOp::kOpen:
      io_uring_prep_openat(entry, AT_FDCWD, call.path, call.open_flags, call.open_mode);
      break;
    case FileOp::kRead:
      io_uring_prep_read(entry, call.fd, call.data, call.size, call.offset);
      break;
    case FileOp::kWrite:
      io_uring_prep_write(entry, call.fd, call.data, call.size, call.offset);
      break;
    case FileOp::kSync:
      io_uring_prep_fsync(entry, call.fd, 0);
      break;
    case FileOp::kClose:
      io_uring_prep_close(entry, call.fd);
      break;
  }
  entry->user_data = tag;  // liburing's prep functions of later versions clear it
}

void FileUring::CancelAll() {
  io_uring_sqe* entry = NewEntry(kCancelTag);
  io_uring_prep_cancel64(entry, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
  entry->user_data = kCancelTag;
}

void FileUring::ArmWake() {
  if (wake_armed_) return;
  io_uring_sqe* entry = NewEntry(kWakeTag);
  io_uring_prep_read(entry, event_fd_, &event_count_, sizeof(event_count_), 0);
  entry->user_data = kWakeTag;
  wake_armed_ = true;
}

int FileUring::SubmitAndWait() {
  ArmWake();
  int submitted = io_uring_submit_and_wait(&ring_, 1);
  if (submitted >= 0 || submitted == -EINTR) return 0;
  // EBUSY: the completion queue is full, EAGAIN: the kernel has no memory for requests. What was
  // prepared stays prepared; the caller reaps, and comes again.
  if (submitted != -EBUSY && submitted != -EAGAIN) return submitted;
  if (io_uring_cq_ready(&ring_) == 0) SleepThread(1'000'000);
  return 0;
}

bool FileUring::NextResult(uint64_t* tag, int32_t* result) {
  for (;;) {
    io_uring_cqe* completion = nullptr;
    if (io_uring_peek_cqe(&ring_, &completion) != 0) return false;
    *tag = completion->user_data;
    *result = completion->res;
    io_uring_cqe_seen(&ring_, completion);
    if (*tag == kWakeTag) wake_armed_ = false;
    if (*tag != kWakeTag && *tag != kCancelTag) return true;
  }
}

void FileUring::Wake() {
  const uint64_t one = 1;
  // It can fail only when 2^64 - 2 wakes are pending.
  ssize_t written = write(event_fd_, &one, sizeof(one));
  static_cast<void>(written);
}

}  // namespace weft::os
