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
// Goroutines start in the body, or in other goroutines. The run ends when all have ended.
#pragma once

#include "weft/go.h"

namespace weft::model {

class Scheduler {
 public:
  explicit Scheduler(int procs);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  ~Scheduler();

  // A goroutine. It may be called by goroutines too.
  template <class F>
  void Go(F body) {
    goroutines_++;
    weft::Go([this, body]() mutable {
      body();
      Ended();
    });
  }

  // Runs until all goroutines have ended and all Ms have left.
  void Run();

 private:
  void Ended();

  int goroutines_ = 0;  // not the program's: no step of the schedule
};

// A runtime whose Ps are all held elsewhere, for what plain threads use of it: timers. Nothing
// runs in it.
class BareRuntime {
 public:
  BareRuntime();
  BareRuntime(const BareRuntime&) = delete;
  BareRuntime& operator=(const BareRuntime&) = delete;
  ~BareRuntime();
};

}  // namespace weft::model
