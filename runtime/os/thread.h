// Threads and what the kernel says of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "weft/internal/atomic.h"

namespace weft::os {

// Starts a detached thread with every signal blocked but those that report its own faults, so
// that a program's signals reach the program's threads. It can use `stack_size` bytes of stack,
// beyond what thread_locals take of it; 0 is libc's default. 0 or -errno. `name`: 15 characters.
int StartThread(const char* name, size_t stack_size, void (*fn)(void*), void* arg);

// fn is called when the calling thread ends, also by pthread_exit; once for a thread.
void AtThreadEnd(void (*fn)());

int ThreadId();

// errno of the calling thread, which a goroutine may have changed since it last asked.
int Errno();
void SetErrno(int error);

// The calling thread's word that -fsplit-stack's prologues compare sp with (runtime/newstack.cc);
// null where there is none.
Atomic<uintptr_t>* PollSlot();

// Threads that StartThread made and that have not ended.
int OwnThreads();

// Where the calling thread's stack ends (its lowest and highest address).
struct StackBounds {
  uintptr_t lo, hi;
};
StackBounds ThreadStack();

// How many threads the process has; 0 when /proc does not say.
int CountThreads();

// CPUs that the affinity mask allows, at least 1.
int AffinityCpus();

// Reads a small file whole (at most `size` - 1 bytes, a 0 behind them); -errno on failure.
int ReadFile(const char* path, char* buffer, size_t size);

// A variable of the environment, or null.
const char* Environment(const char* name);

// Writes all of it, as far as the kernel lets; for messages.
void WriteAll(int fd, const char* text, size_t size);

[[noreturn]] void Abort();
[[noreturn]] void ExitProcess(int code);

}  // namespace weft::os
