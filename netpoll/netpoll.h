// The netpoller's one interface: who waits for a descriptor to become readable or writable.
//
// Callers make their system call themselves on a non-blocking descriptor and come here only when
// it says EAGAIN; readiness carries no data and may be spurious, so that a second report, or one
// for nothing, costs a retry and is never wrong.
#pragma once

#include <cstdint>

namespace weft::netpoll {

struct Desc;

enum class Mode : uint8_t { kRead = 0, kWrite = 1 };
enum class Kind : uint8_t {
  kStream,  // may live in a ring of the M that waits first
  kShared,  // always in the shared set: the kernel lets go of it at once, whoever closes it
};
enum class Result : uint8_t { kReady, kTimeout, kClosing };

// Open makes a descriptor for `fd`, which must be non-blocking and stay open until Close.
// Nothing is registered with the kernel before the first wait. 0, or -errno. `owner` is memory that
// a waiter touches when it is readied: it is brought near, never read.
int Open(int fd, Kind kind, const void* owner, Desc** out);

// Wait consumes one report of readiness, or blocks the calling goroutine (or plain thread) until
// there is one. A new Desc starts ready in both modes: the first Wait returns at once, and the
// caller's system call finds out. One waiter for each mode at a time; a second is fatal.
// kTimeout: the mode's deadline has passed. kClosing: Evict was called.
// `error`, when the result is kClosing because the kernel refused the registration, is -errno,
// else 0.
Result Wait(Desc* d, Mode mode, int* error);

// Check is Wait's verdict without waiting: kTimeout, kClosing, or kReady for "go and try".
Result Check(const Desc* d, Mode mode);

// SetReady says that the next Wait shall not block: the caller knows or suspects that there is
// more (a read that filled its buffer), or wants the waiter to look at something else
// (cancellation).
void SetReady(Desc* d, Mode mode);

// From `when` on (Nanotime; 0: never; in the past: at once) waits in `mode` time out. It acts on a
// wait under way as well.
void SetDeadline(Desc* d, Mode mode, int64_t when);

// Evict makes every wait, under way or later, return kClosing. Any thread; idempotent.
void Evict(Desc* d);

// Close takes the descriptor out of the kernel's lists and frees it. Evict came before and no
// wait is under way. The caller closes `fd` right after it, unless `descriptor_lives_on`: then it
// goes on to be used elsewhere. (A ring of another M may hold on to the file a moment longer: a
// socket that is to be closed is shut down here, so that its peer learns of it at once.)
void Close(Desc* d, bool descriptor_lives_on = false);

}  // namespace weft::netpoll
