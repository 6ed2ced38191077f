// Clocks.
#pragma once

#include <cstdint>

namespace weft::os {

// Nanoseconds of CLOCK_MONOTONIC: 25 ns a read (bench/micro, "clock").
int64_t Nanotime();

// Nanoseconds of the wall clock since 1970.
int64_t UnixNanos();

// Sleeps the thread.
void SleepThread(int64_t ns);

// Gives the CPU to another thread, if one waits for it.
void YieldThread();

// One round of waiting for what another thread does soon; who does it may have lost its CPU.
void SpinWait(int round);

}  // namespace weft::os
