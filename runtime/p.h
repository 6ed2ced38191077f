// P: the right to run goroutines, with what goes with it: run queue, timers, caches.
#pragma once

#include <cstdint>

#include "runtime/lock.h"
#include "runtime/runq.h"
#include "runtime/stack.h"
#include "runtime/timer.h"

namespace weft::runtime {

// Who owns a P in each state:
//   Pidle     the idle list ([s]), or who took it from there
//   Prunning  its M; only that M leaves the state (to Pidle, Psyscall, Pgcstop)
//   Psyscall  nobody: its last M may take it back by CAS; sysmon, StopTheWorld and ForEachP take
//             it away by CAS. The state may have come from another M meanwhile (ABA); that is
//             harmless since a successful CAS owns the P whoever left it.
//   Pgcstop   who stopped the world
//   Pdead     nobody; beyond MaxProcs
enum PState : uint32_t { Pidle, Prunning, Psyscall, Pgcstop, Pdead };

// The earliest timers of one P: a 4-ary heap.
struct TimerHeap {
  Lock lock{LockRank::kTimers};
  int32_t size = 0;                   // [lock]
  int32_t capacity = 0;               // [lock]
  Timer** heap = nullptr;             // [lock]
  os::Atomic<int64_t> first_when{0};  // when the earliest fires, 0: none; written under lock
};

inline constexpr uint32_t kRunQueueCapacity = os::Scaled(256, 4);
inline constexpr int kDirectSwitches = 61;  // then one pass through the scheduler (taken from Go)

// Rules of access: [m] the M that holds it   [a] atomic   [s] under sched.lock
struct alignas(64) P {
  int32_t id = 0;                          // constant
  os::Atomic<uint32_t> state{Pgcstop};     // [a] see PState
  os::Atomic<M*> m{nullptr};               // [m] writes: itself, while Prunning; a hint to others
  P* link = nullptr;                       // [s] idle list
  int32_t direct_budget = 0;               // [m] direct switches left; a pass sets it
  uint32_t global_seen = 0;                // [m] schedtick when the global queue was last looked at
  os::Atomic<uint32_t> schedtick{0};       // [m] writes: time slices begun; sysmon reads
  os::Atomic<uint32_t> syscalltick{0};     // [m] writes: system calls begun; sysmon reads
  os::Atomic<bool> preempt{false};         // [a] the running goroutine shall be stopped
  os::Atomic<uint32_t> run_safe_point{0};  // [a] its owner is asked to; see safepoint.cc
  RunQueue<kRunQueueCapacity> runq;
  GQueue dead_gs;             // [m] for reuse
  StackCache stacks;          // [m]
  uint64_t next_goid = 0;     // [m] goids set aside for this P
  uint64_t end_goid = 0;      // [m]
  uint64_t random_state = 0;  // [m]
  TimerHeap timers;
  os::Atomic<uint64_t> switches{0};     // [m] writes; counters read
  os::Atomic<uint64_t> steals{0};       // [m] writes; counters read
  os::Atomic<uint64_t> preemptions{0};  // [m] writes; counters read
  os::Atomic<int64_t> spawned{0};       // [m] writes: goroutines made less ended here
  // sysmon's own notes
  uint32_t seen_schedtick = 0;
  uint32_t seen_syscalltick = 0;
  int64_t seen_sched_when = 0;
  int64_t seen_syscall_when = 0;
};

// A single writer's counter: a plain add, read by others.
template <class T>
[[gnu::always_inline]] inline void Bump(os::Atomic<T>& counter, T by = 1) {
  // One writer; readers want a recent value only.
  counter.Store(counter.Load(os::kRelaxed<"counter.load">) + by, os::kRelaxed<"counter.store">);
}

}  // namespace weft::runtime
