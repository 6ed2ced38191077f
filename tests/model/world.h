// A whole scheduler under the explorer: Ps, Ms that are logical threads, goroutines on stacks of
// their own. The code is the runtime's, from Go to the end of the last M; what is not there is
// sysmon, the netpoller and preemption by time.
//
//     MODEL(pass_on) {
//       Scheduler scheduler(2);
//       Chan<int> chan;
//       scheduler.Go([&chan] { (void)chan.Send(1); });
//       scheduler.Go([&chan] { Check(chan.Receive() == 1, "it arrives"); });
//       scheduler.Run();
//     }
//
// Goroutines start in the body, or in other goroutines. The run ends when all have ended. How the
// Ms leave then is explored by the harnesses that say so; the others leave that to them.
#pragma once

#include "runtime/sched.h"
#include "tests/model/model.h"
#include "weft/go.h"

namespace weft::model {

class Scheduler {
 public:
  enum class End { kExplored, kLeftToOthers };
  explicit Scheduler(int procs, End end = End::kLeftToOthers);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  ~Scheduler();

  // A goroutine. It may be called by goroutines too.
  template <class F>
  void Go(F body) {
    ++goroutines_;
    weft::Go([this, body]() mutable {
      body();
      Ended();
    });
  }

  // Runs until all goroutines have ended and all Ms have left.
  void Run();

 private:
  void Ended();

  const End end_;
  Known<int> goroutines_ = 0;
};

// A runtime in which nothing runs: for what plain threads use of it (timers), and for threads that
// stand for Ms in one part of the scheduler. Its Ps are nobody's, and not in the idle list.
class BareRuntime {
 public:
  explicit BareRuntime(int procs = 1);
  BareRuntime(const BareRuntime&) = delete;
  BareRuntime& operator=(const BareRuntime&) = delete;
  ~BareRuntime();

  runtime::G* goroutine(int i);
};

// The calling thread stands for an M on its system stack, from here on.
runtime::M* BeM(int m, int p);
// The calling thread is a running goroutine's stack, from here on.
void BeGoroutine(int m, int p);

}  // namespace weft::model
