// The runtime itself: starting and ending it, how many Ps it has, what it counts and says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"

namespace weft {

struct RuntimeOptions {
  // Ps: how many goroutines run at once. 0: WEFT_MAXPROCS, else the CPUs that the affinity mask
  // and the cgroup's CPU limit leave, at least 1.
  int max_procs = 0;
  // Which netpoller: "" takes WEFT_NETPOLL, else "auto"; "io_uring" and "epoll" insist.
  std::string_view netpoll = "";
  // Stack reservation of goroutines that do not ask for their own size, as GoOptions::stack_size;
  // 0: 192 KiB.
  size_t stack_size = 0;
  // Where the cgroup and mount information is read; tests put a tree of their own here.
  std::string_view system_root = "";
};

namespace internal {
// Makes the calling thread an M of a new runtime, runs `fn(arg)` as the first goroutine and
// returns when that has returned and the runtime is torn down.
void RunMain(const RuntimeOptions& options, void (*fn)(void*), void* arg);
// Prints a status that ends the program; returns the exit code for it.
int ReportExit(const absl::Status& status);
}  // namespace internal

// Main runs `fn` as the first goroutine of a new runtime on the calling thread, and returns when
// `fn` has returned; goroutines that still exist then are abandoned where they stand.
//
// `fn` may return nothing (exit code 0), an int (the exit code) or an absl::Status (0 when ok, and
// when it is the cancellation of a SignalContext; else it is printed to stderr and the code is 1).
// One runtime at a time in a process; fatal when another runs. After it returns another may be
// made.
template <class F>
int Main(const RuntimeOptions& options, F&& fn) {
  using Result = std::invoke_result_t<F&>;
  struct Call {
    std::remove_reference_t<F>* fn;
    int code;
  } call{&fn, 0};
  internal::RunMain(
      options,
      [](void* p) {
        Call* c = static_cast<Call*>(p);
        if constexpr (std::is_void_v<Result>) {
          (*c->fn)();
        } else if constexpr (std::is_same_v<Result, absl::Status>) {
          c->code = internal::ReportExit((*c->fn)());
        } else {
          c->code = (*c->fn)();
        }
      },
      &call);
  return call.code;
}

template <class F>
int Main(F&& fn) {
  return Main(RuntimeOptions{}, std::forward<F>(fn));
}

// MaxProcs sets the number of Ps when `n` > 0 and returns what it was before. It stops the world
// for a moment. `n` is cut to 1..1024. Must be called from a goroutine when `n` > 0.
int MaxProcs(int n);

// What the runtime holds at one moment. Each number is exact, the whole is not one snapshot.
struct RuntimeStats {
  int goroutines;                   // existing, without the dead ones kept for reuse
  int threads;                      // Ms
  int idle_threads;                 // Ms asleep without a P
  int procs;                        // Ps
  int idle_procs;                   // Ps without an M
  int running_procs;                // Ps that run goroutines or look for one
  int syscall_procs;                // Ps of goroutines in Blocking
  int poll_descriptors;             // descriptors registered with the netpoller
  int timers;                       // timers that will fire
  size_t stack_bytes;               // reserved for stacks in use
  size_t runtime_bytes;             // mapped for the runtime's own structures
  uint64_t context_switches;        // goroutines switched in
  uint64_t steals;                  // goroutines taken from another P's queue
  uint64_t handoffs;                // Ps taken from threads in Blocking
  uint64_t preemptions;             // time slices that ended at a poll
  uint64_t netpoll_readied;         // goroutines made runnable by the netpoller
  uint64_t netpoll_readied_in_stw;  // of these, while the world was stopped
  uint64_t netpoll_moved;           // connections moved from a ring to the shared set
  uint64_t netpoll_rehomed;         // moves of connections to the ring where they are read
  uint64_t netpoll_rings;           // rings in use
};
RuntimeStats Stats();

// The poller in use and why: "io_uring", "epoll (io_uring refused: Operation not permitted)".
std::string NetpollName();

// Writes every goroutine (state, wait reason, where; running ones by their M) to descriptor
// `fd`. Any thread may call it. SIGQUIT does the same to stderr, then ends the process with
// code 2.
void DumpGoroutines(int fd);

// What a fatal error says is passed to `hook` before the process aborts. It runs on the thread
// that failed, must not allocate or lock, and may not return control to weft by other means
// than returning. Null takes it away. Returns the hook that was set before.
using FatalHook = void (*)(std::string_view message);
FatalHook SetFatalHook(FatalHook hook);

}  // namespace weft
