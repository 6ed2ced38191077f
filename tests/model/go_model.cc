// The whole scheduler: goroutines on one and two Ps. No wakeup is lost, no goroutine runs twice or
// is resumed before it has parked.
#include "tests/model/model.h"
#include "tests/model/world.h"
#include "weft/chan.h"
#include "weft/runtime.h"
#include "weft/time.h"

namespace weft::model {
namespace {

MODEL(go_one, kOneBudget) {
  Scheduler scheduler(1, Scheduler::End::kExplored);
  os::Plain<int> ran = 0;
  scheduler.Go([&ran] { ran = 1; });
  scheduler.Run();
  Check(ran == 1, "it ran");
}

// The end comes while an M starts, looks for work, or goes to sleep.
MODEL(go_end, kOneBudget) {
  Scheduler scheduler(2, Scheduler::End::kExplored);
  scheduler.Go([] {});
  scheduler.Run();
}

// Each waits for the other without a poll, as two that compute: the second must find an M.
MODEL(go_two_at_once, kOneBudget) {
  Scheduler scheduler(2);
  os::Atomic<int> here(0);
  const auto meet = [&here] {
    here.FetchAdd(1, os::kRelaxed<"test.here">);
    while (here.Load(os::kRelaxed<"test.here.look">) < 2) SpinPause();
  };
  scheduler.Go(meet);
  scheduler.Go(meet);
  scheduler.Run();
}

// Started by a goroutine that computes then.
MODEL(go_child_at_once, kOneBudget) {
  Scheduler scheduler(2);
  os::Atomic<int> ran(0);
  scheduler.Go([&] {
    scheduler.Go([&ran] { ran.Store(1, os::kRelaxed<"test.ran">); });
    while (ran.Load(os::kRelaxed<"test.ran.look">) == 0) SpinPause();
  });
  scheduler.Run();
}

MODEL(go_channel, kOneBudget) {
  Scheduler scheduler(2);
  Chan<int> chan;
  os::Plain<int> payload = 0;
  scheduler.Go([&] {
    payload = 1;
    Check(chan.Send(5), "open");
  });
  scheduler.Go([&] {
    Check(chan.Receive() == 5, "the value arrives");
    Check(payload == 1, "what came before the send is seen");
  });
  scheduler.Run();
}

MODEL(go_yield, kOneBudget) {
  Scheduler scheduler(2);
  os::Atomic<int> flag(0);
  scheduler.Go([&flag] {
    while (flag.Load(os::kRelaxed<"test.flag.look">) == 0) {
      Yield();
      SpinPause();
    }
  });
  scheduler.Go([&flag] { flag.Store(1, os::kRelaxed<"test.flag">); });
  scheduler.Run();
}

// A slice ends: what was to go next moves to the end of the queue, and what waits globally goes
// first, for long. For a moment the other was in no queue: a last look that missed it is made good.
MODEL(go_slice_end, kOneBudget) {
  Scheduler scheduler(2);
  os::Atomic<int> ran(0);
  scheduler.Go([&] {
    scheduler.Go([&ran] { ran.Store(1, os::kRelaxed<"test.ran.next">); });
    runtime::GetM()->p->preempt.Store(true, os::kRelaxed<"test.preempt">);
    Yield();
    while (ran.Load(os::kRelaxed<"test.ran.slice">) == 0) SpinPause();
  });
  scheduler.Run();
}

// The call returns only when another goroutine has run: sysmon gives the P to it. Then the first
// comes back without a P.
MODEL(go_blocking, kOneBudget) {
  Scheduler scheduler(1);
  os::Atomic<int> ran(0);
  scheduler.Go([&ran] {
    internal::EnterBlocking();
    while (ran.Load(os::kRelaxed<"test.ran.call">) == 0) SpinPause();
    internal::ExitBlocking();
  });
  scheduler.Go([&ran] { ran.Store(1, os::kRelaxed<"test.ran.other">); });
  Spawn("sysmon", [] {
    while (!runtime::RetakeFromSyscall(runtime::Rt()->all_ps[0])) SpinPause();
  });
  scheduler.Run();
}

// Timers wake an M that sleeps, whoever keeps them.
MODEL(go_sleep, kOneBudget) {
  Scheduler scheduler(2);
  os::Plain<int> woken = 0;
  scheduler.Go([&woken] {
    Sleep(absl::Microseconds(100));
    woken = 1;
  });
  scheduler.Run();
  Check(woken == 1, "it slept and went on");
}

}  // namespace
}  // namespace weft::model
