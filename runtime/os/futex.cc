#include "runtime/os/futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace weft::os {

namespace {
bool RegisterMembarrier() {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0;
}
}  // namespace

bool membarrier_refused = RegisterMembarrier();

bool Membarrier() {
  if (membarrier_refused) {
    Fence(kSeqCst<"membarrier.fallback">);
    return true;
  }
  return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

FutexResult FutexWait(const Atomic<uint32_t>& word, uint32_t expected, int64_t timeout_ns) {
  timespec timeout;
  timespec* limit = nullptr;
  if (timeout_ns >= 0) {
    timeout = {.tv_sec = timeout_ns / 1'000'000'000, .tv_nsec = timeout_ns % 1'000'000'000};
    limit = &timeout;
  }
  if (syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, limit) == 0) {
    return FutexResult::kWoken;
  }
  if (errno == EAGAIN) return FutexResult::kChanged;
  if (errno == ETIMEDOUT) return FutexResult::kTimedOut;
  return FutexResult::kWoken;
}

void FutexWake(const Atomic<uint32_t>& word, int count) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count);
}

}  // namespace weft::os
