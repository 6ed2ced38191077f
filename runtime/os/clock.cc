#include "runtime/os/clock.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "arch/arch.h"

namespace weft::os {

int64_t Nanotime() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

int64_t UnixNanos() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void SleepThread(int64_t ns) {
  timespec left = {.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
  while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
  }
}

void YieldThread() {
  sched_yield();
}

void SpinWait(int round) {
  if (round % 64 < 63) {
    arch::CpuRelax();
  } else {
    YieldThread();
  }
}

}  // namespace weft::os
