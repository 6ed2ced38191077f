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

}  // namespace weft::os
