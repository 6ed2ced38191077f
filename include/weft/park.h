// Park and Ready: what every blocking operation of weft is made of.
//
// A goroutine that must wait publishes itself somewhere (a list, a word), then parks; whoever
// ends the wait takes it from there and readies it. The gap between publishing and parking is
// closed by `commit`, which runs once the goroutine is really parked:
//
//     Park([](Goroutine* self, void* arg) { static_cast<Lock*>(arg)->Unlock(); return true; },
//          &lock, WaitReason::kUser);
//
// All of it works on plain threads as well: there the thread itself sleeps.
#pragma once

#include <cstdint>

namespace weft {

namespace runtime {
struct G;
}
// One goroutine, or one plain thread that blocks in weft. Opaque.
using Goroutine = runtime::G;

// Why a goroutine waits, as dumps name it.
#define WEFT_WAIT_REASONS(R)             \
  R(kNone, "")                           \
  R(kUser, "parked")                     \
  R(kSleep, "sleep")                     \
  R(kChanReceive, "chan receive")        \
  R(kChanSend, "chan send")              \
  R(kChanLock, "chan lock")              \
  R(kSelect, "select")                   \
  R(kSelectNoCases, "select (no cases)") \
  R(kMutexLock, "mutex lock")            \
  R(kRWMutexLock, "rwmutex lock")        \
  R(kCondWait, "cond wait")              \
  R(kWaitGroupWait, "waitgroup wait")    \
  R(kOnce, "once")                       \
  R(kCompletion, "completion")           \
  R(kScopeWait, "scope wait")            \
  R(kContextDone, "context done")        \
  R(kIoRead, "IO wait (read)")           \
  R(kIoWrite, "IO wait (write)")         \
  R(kIoLock, "IO lock")                  \
  R(kFile, "file IO")                    \
  R(kStopTheWorld, "stopping the world") \
  R(kForEachP, "for each P")             \
  R(kSuspend, "suspending a goroutine")  \
  R(kPreempted, "preempted")

enum class WaitReason : uint8_t {
#define WEFT_WAIT_REASON_ENUM(name, text) name,
  WEFT_WAIT_REASONS(WEFT_WAIT_REASON_ENUM)
#undef WEFT_WAIT_REASON_ENUM
};

// Runs after the parking goroutine can be readied, on another stack: it must not block, must
// not use the goroutine's own state, and must not touch anything that a readier may free.
// Returning false takes the park back: Park returns at once.
using ParkCommit = bool (*)(Goroutine* self, void* arg);

// Park blocks the calling goroutine (on a plain thread: the thread) until Ready(it).
// `commit` may be null. A goroutine must be readied exactly once for each Park.
void Park(ParkCommit commit, void* arg, WaitReason reason);

// Ready makes a parked goroutine runnable. Any thread may call it; it does not block.
// Fatal when the goroutine is not parked: a second Ready for one Park is a bug in the caller.
void Ready(Goroutine* g);

// The calling goroutine; on a plain thread, a stand-in for the thread that Park and Ready take.
Goroutine* Current();

// What a parking goroutine and its readier have to say to each other beside the wake-up:
// a word that the readier writes before Ready and the goroutine reads after Park.
uintptr_t ParkResult(const Goroutine* g);
void SetParkResult(Goroutine* g, uintptr_t result);

}  // namespace weft
