#include "runtime/os/futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/os/sanitizers.h"

namespace weft::os {

namespace {
// TSan holds a signal back until its thread comes to an atomic: also one that comes just before a
// sleep, which it does not end. So a sleep without end goes on after a while.
#ifdef WEFT_TSAN
constexpr int64_t kLongest_ns = 50'000'000;
#else
constexpr int64_t kLongest_ns = -1;
#endif

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
  const bool endless = timeout_ns < 0;
  if (endless) timeout_ns = kLongest_ns;
  if (timeout_ns >= 0) {
    timeout = {.tv_sec = timeout_ns / 1'000'000'000, .tv_nsec = timeout_ns % 1'000'000'000};
    limit = &timeout;
  }
  if (syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, limit) == 0) {
    return FutexResult::kWoken;
  }
  if (errno == EAGAIN) return FutexResult::kChanged;
  if (errno == ETIMEDOUT && !endless) return FutexResult::kTimedOut;
  return FutexResult::kWoken;
}

void FutexWake(const Atomic<uint32_t>& word, int count) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count);
}

}  // namespace weft::os
