// M: one OS thread of the runtime.
#pragma once

#include <cstdint>

#include "arch/arch.h"
#include "runtime/events.h"
#include "runtime/g.h"
#include "runtime/lock.h"
#include "runtime/os/futex.h"
#include "weft/internal/atomic.h"

namespace weft::runtime {

struct P;

// What is left to do for the goroutine that a switch left behind, once its context is saved.
enum class AfterSwitch : uint8_t { kNothing, kPark, kYield, kGlobalYield, kStopped, kExit };

// How an idle M sleeps; see wake.cc.
enum MSleep : uint32_t { kAwake, kOnFutex, kOnRing, kOnShared, kNotified };

// Rules of access: [t] its own thread   [s] under sched.lock   [a] atomic   [c] constant
struct alignas(64) M {
  int32_t locks = 0;                          // [t] > 0: in the runtime, must not be stopped
  bool spinning = false;                      // [t] looks for work without having any
  AfterSwitch after = AfterSwitch::kNothing;  // [t] what to do for prev
  bool end_thread = false;                    // [t] a locked goroutine has ended here
  int32_t blocking_depth = 0;                 // [t] nested Blocking
  int32_t id = 0;                             // [c]
  G* curg = nullptr;                          // [t] running goroutine; &g0 on the system stack
  G g0;                                       // [t] stands for the system stack
  P* p = nullptr;                             // [t] held P
  G* prev = nullptr;                          // [t] see after
  ParkCommit park_commit = nullptr;           // [t] of prev
  void* park_arg = nullptr;                   // [t]
  uintptr_t* eh_globals = nullptr;            // [c] the thread's __cxa_get_globals()
  void* g0_sp = nullptr;                      // [c] where the system stack's frames begin
  G* take_next = nullptr;                     // [t] popped already, runs next
  P* syscall_p = nullptr;                     // [t] held before entersyscall
  os::Atomic<G*> lockedg{nullptr};            // [a] only this goroutine may run here
  os::Atomic<P*> nextp{nullptr};              // [a] given by a waker under sched.lock
  bool next_spinning = false;                 // [s] the waker made it a spinner
  bool in_idle_list = false;                  // [s]
  M* idle_next = nullptr;                     // [s] doubly linked: an M may wake by itself
  M* idle_prev = nullptr;                     // [s]
  os::Atomic<uint32_t> sleep{kAwake};         // [a] MSleep
  M* all_next = nullptr;                      // [c] once linked, under sched.lock
  os::Atomic<void*> ring{nullptr};            // [t] writes: the netpoller's ring of this M
  os::Atomic<int32_t> ring_polls{
      0};                         // [a] descriptors that its ring watches; under the ring's lock
  int32_t orphan_wakes = 0;       // [t] wakes in a row with work for others
  os::Atomic<bool> has_p{false};  // [t] writes: for sysmon
  os::Atomic<G*> dump_curg{nullptr};  // [t] writes: curg for dumps
  uint64_t random_state = 1;          // [t]
  void* exit_sp = nullptr;            // [t] context that ends the thread
  void* g0_fiber = nullptr;           // [t] sanitizers
  void* g0_fake_stack = nullptr;      // [t]
  uintptr_t g0_lo = 0, g0_hi = 0;     // [c] bounds of the system stack
  void* signal_stack = nullptr;       // [c]
  int32_t tid = 0;                    // [c] the kernel's number of the thread
  Lock slot_lock{LockRank::kPollSlot};
  os::Atomic<os::Atomic<uintptr_t>*> poll_slot{
      nullptr};      // [t] writes, under slot_lock: newstack.cc
  EventRing events;  // [t]
};

extern "C" {
M* weft_get_m();
void weft_set_m(M* m);
void* weft_get_thread_g();
void weft_set_thread_g(void* g);
}

// The calling thread's M; null on a plain thread. To be asked again after every park.
[[gnu::always_inline]] inline M* GetM() {
  return weft_get_m();
}

}  // namespace weft::runtime
