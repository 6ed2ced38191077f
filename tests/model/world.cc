#include "tests/model/world.h"

#include <cstring>
#include <memory>

#include "runtime/gate.h"
#include "runtime/sched.h"
#include "runtime/start.h"
#include "tests/model/engine.h"

namespace weft::model {

namespace {

using runtime::G;
using runtime::M;
using runtime::P;
using runtime::Runtime;

constexpr int kMostProcs = 2;
constexpr int kMostMs = 4;
constexpr int kMostGs = 6;
constexpr size_t kStackBytes = size_t{16} << 10;

// Lives through all runs; what a run changes is put back by copying the image.
struct Parts {
  Runtime runtime;
  P procs[kMostProcs];
  M threads[kMostMs];
  G goroutines[kMostGs];
};

alignas(Parts) unsigned char memory[sizeof(Parts)];
// By the number of Ps. 0: one P, which is not idle.
std::unique_ptr<unsigned char[]> image[kMostProcs + 1];
alignas(64) unsigned char stacks[kMostGs][kStackBytes];

Parts* Here() {
  return reinterpret_cast<Parts*>(memory);
}

// Between runs, so that atomics are plain memory.
void MakeImage(int index) {
  const int procs = index == 0 ? 1 : index;
  Parts* s = new (memory) Parts;
  Runtime* rt = &s->runtime;
  rt->default_stack_class = 0;
  for (int i = 0; i < procs; i++) {
    P* p = &s->procs[i];
    p->id = i;
    p->random_state = static_cast<uint64_t>(i) + 1;
    p->runq.SetAlone(procs == 1);
    rt->all_ps[i] = p;
    if (index == 0) {
      p->state.Store(runtime::Prunning, os::kRelaxed<"world.init">);
    } else {
      p->state.Store(runtime::Pidle, os::kRelaxed<"world.init">);
      p->link = rt->idle_ps;
      rt->idle_ps = p;
    }
    for (int k = i; k < kMostGs; k += procs) {
      const uintptr_t lo = reinterpret_cast<uintptr_t>(stacks[k]);
      p->stacks.Push({lo, lo + kStackBytes});
    }
  }
  rt->idle_p_count.Store(index, os::kRelaxed<"world.init">);
  rt->procs.Store(procs, os::kRelaxed<"world.init">);
  rt->made_procs.Store(procs, os::kRelaxed<"world.init">);
  for (int i = 0; i < kMostMs; i++) {
    M* m = &s->threads[i];
    m->id = i + 1;
    m->random_state = static_cast<uint64_t>(m->id);
    m->idle_next = rt->free_ms;
    rt->free_ms = m;
    m->all_next = rt->all_ms.Load(os::kRelaxed<"world.init">);
    rt->all_ms.Store(m, os::kRelaxed<"world.init">);
  }
  for (G& g : s->goroutines) {
    runtime::CasGStatus<runtime::Gidle, runtime::Gdead>(&g);
    rt->dead_gs.PushBack(&g);
  }
  image[index] = std::make_unique<unsigned char[]>(sizeof(Parts));
  memcpy(image[index].get(), memory, sizeof(Parts));
}

struct MakeImages {
  MakeImages() {
    for (int index = 0; index <= kMostProcs; index++) MakeImage(index);
    runtime::foreign_gate.Open();
  }
} make_images;

// As the thread in Main: it starts Ms, and sees them all leave.
void ServeCalls() {
  Runtime* rt = runtime::Rt();
  for (;;) {
    const uint32_t calls = rt->main_calls.Load(os::kAcquire<"world.calls">);
    if ((calls & runtime::kMainDone) != 0) break;
    runtime::StartPendingMs();
    os::FutexWait(rt->main_calls, calls);
  }
  for (;;) {
    const uint32_t live = rt->live_threads.Load(os::kAcquire<"world.live">);
    if (live == 0) return;
    runtime::StartPendingMs();
    os::FutexWait(rt->live_threads, live, 1'000'000);
    M* first = rt->all_ms.Load(os::kAcquire<"world.all_ms">);
    for (M* m = first; m != nullptr; m = m->all_next) runtime::WakeM(m);
  }
}

}  // namespace

namespace {
void Begin(int index) {
  memcpy(memory, image[index].get(), sizeof(Parts));
  runtime::the_runtime = &Here()->runtime;
}
void End() {
  runtime::the_runtime = nullptr;
}
}  // namespace

BareRuntime::BareRuntime() {
  Begin(0);
}
BareRuntime::~BareRuntime() {
  End();
}

Scheduler::Scheduler(int procs) {
  Begin(procs);
}
Scheduler::~Scheduler() {
  End();
}

void Scheduler::Ended() {
  if (--goroutines_ == 0) runtime::BeginExit();
}

void Scheduler::Run() {
  runtime::StartPendingMs();
  Spawn("main", ServeCalls);
  Join();
  Check(runtime::Rt()->live_threads.Load(os::kRelaxed<"world.end">) == 0, "all Ms have left");
}

}  // namespace weft::model
