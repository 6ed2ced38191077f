// The seam's io_uring for files: operations go in with a tag, results come out with it.
//
// One thread owns it: it alone calls Init, Prepare, SubmitAndWait, NextResult and CloseRing. Wake
// is for all, until CloseWake, which comes when the owner has called CloseRing and nobody wakes it
// any more.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>

namespace weft::os {

enum class FileOp : uint8_t { kOpen, kRead, kWrite, kSync, kClose };

struct FileCall {
  FileOp op;
  int fd = -1;                 // all but kOpen
  int open_flags = 0;          // kOpen: the kernel's
  uint32_t open_mode = 0;      // kOpen
  const char* path = nullptr;  // kOpen
  void* data = nullptr;        // kRead, kWrite (not written to)
  uint32_t size = 0;           // kRead, kWrite
  uint64_t offset = 0;         // kRead, kWrite
};

class FileUring {
 public:
  static constexpr uint32_t kEntries = 256;
  // What may be prepared or under way at once: one place is for Wake's read, one for CancelAll.
  static constexpr uint32_t kMaxCalls = kEntries - 2;

  int Init();  // 0 or -errno
  void CloseRing();
  void CloseWake();

  // `tag` is neither 0 nor 1. At most kMaxCalls may be without a result.
  void Prepare(const FileCall& call, uint64_t tag);
  void CancelAll();

  // Gives the kernel what was prepared and sleeps until there is a result or a Wake. 0, also when
  // the kernel could not take everything now: the rest stays prepared for the next call. Another
  // -errno is a bug.
  int SubmitAndWait();
  // False: no more results for now.
  bool NextResult(uint64_t* tag, int32_t* result);

  // Ends the SubmitAndWait under way, or the next one.
  void Wake();

 private:
  static constexpr uint64_t kWakeTag = 0;
  static constexpr uint64_t kCancelTag = 1;

  io_uring_sqe* NewEntry(uint64_t tag);
  void ArmWake();

  io_uring ring_;
  int event_fd_ = -1;
  uint64_t event_count_ = 0;  // the kernel writes it
  bool wake_armed_ = false;
};

}  // namespace weft::os
