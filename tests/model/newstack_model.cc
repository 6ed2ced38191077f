// The word that polling prologues look at: requests against the poll, and against the thread's end.
#include <optional>

#include "runtime/sched.h"
#include "tests/model/model.h"
#include "tests/model/world.h"

namespace weft::model {
namespace {

using runtime::G;
using runtime::kStackPreempt;
using runtime::M;

struct Polling {
  BareRuntime bare{1};
  G* g = bare.goroutine(0);
  // In memory that is gone with the thread.
  std::optional<os::Atomic<uintptr_t>> slot{0};

  // As an M whose goroutine runs. Who looks before it is done asks nobody.
  M* Begin() {
    BeGoroutine(0, 0);
    M* m = runtime::GetM();
    m->poll_slot.Store(&*slot, os::kRelaxed<"test.slot">);
    m->dump_curg.Store(g, os::kRelease<"test.curg">);
    return m;
  }

  void Prologue(M* m) {
    if (slot->Load(os::kRelaxed<"test.prologue">) == 0) return;
    runtime::ClearSlot(m);
    if (g->stackguard0.Load(os::kRelaxed<"test.poll">) == kStackPreempt) {
      g->stackguard0.Exchange(0, os::kAcquire<"test.serve">);
    }
  }

  bool IsAsked() { return g->stackguard0.Load(os::kRelaxed<"test.asked">) == kStackPreempt; }
};

void Ask() {
  runtime::PreemptOne(runtime::Rt()->all_ps[0]);
}

// A request that stands has its poison: the next prologue stops.
MODEL(slot_two_requests) {
  Polling t;
  Spawn("thread", [&t] {
    M* m = t.Begin();
    t.Prologue(m);
    t.Prologue(m);
  });
  Spawn("asks1", Ask);
  Spawn("asks2", Ask);
  Join();
  Check(!t.IsAsked() || t.slot->Load(os::kRelaxed<"test.end">) != 0, "a request is lost");
}

MODEL(slot_against_end) {
  Polling t;
  Spawn("thread", [&t] {
    M* m = t.Begin();
    t.Prologue(m);
    runtime::TakeSlotBack(m);
    t.slot.reset();
  });
  Spawn("asks", Ask);
  Join();
}

}  // namespace
}  // namespace weft::model
