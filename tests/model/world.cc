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

constexpr int kMostProcs = 3;
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
// By the number of Ps; in the second half they are idle.
std::unique_ptr<unsigned char[]> image[2 * kMostProcs];
alignas(64) unsigned char stacks[kMostGs][kStackBytes];
// Heaps that need not grow: what a run allocates of the runtime's memory stays.
constexpr int kMostTimers = 16;
runtime::Timer* heaps[kMostProcs][kMostTimers];

Parts* Here() {
  return reinterpret_cast<Parts*>(memory);
}

// Between runs, so that atomics are plain memory.
int Index(int procs, bool idle) {
  return procs - 1 + (idle ? kMostProcs : 0);
}

void MakeImage(int procs, bool idle) {
  Parts* s = new (memory) Parts;
  Runtime* rt = &s->runtime;
  rt->default_stack_class = 0;
  for (int i = 0; i < procs; i++) {
    P* p = &s->procs[i];
    p->id = i;
    p->random_state = static_cast<uint64_t>(i) + 1;
    p->timers.heap = heaps[i];
    p->timers.capacity = kMostTimers;
    p->runq.SetAlone(procs == 1);
    rt->all_ps[i] = p;
    p->state.Store(runtime::Pidle, os::kRelaxed<"world.init">);
    if (idle) {
      p->link = rt->idle_ps;
      rt->idle_ps = p;
    }
    for (int k = i; k < kMostGs; k += procs) {
      const uintptr_t lo = reinterpret_cast<uintptr_t>(stacks[k]);
      p->stacks.Push({lo, lo + kStackBytes});
    }
  }
  rt->idle_p_count.Store(idle ? procs : 0, os::kRelaxed<"world.init">);
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
  image[Index(procs, idle)] = std::make_unique<unsigned char[]>(sizeof(Parts));
  memcpy(image[Index(procs, idle)].get(), memory, sizeof(Parts));
}

struct MakeImages {
  MakeImages() {
    for (int procs = 1; procs <= kMostProcs; procs++) {
      MakeImage(procs, false);
      MakeImage(procs, true);
    }
    runtime::foreign_gate.Open();
    OnLeave([] { runtime::the_runtime = nullptr; });
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
void Enter(int procs, bool idle) {
  memcpy(memory, image[Index(procs, idle)].get(), sizeof(Parts));
  runtime::the_runtime = &Here()->runtime;
}
void Leave() {
  runtime::the_runtime = nullptr;
}
}  // namespace

BareRuntime::BareRuntime(int procs) {
  Enter(procs, false);
}
BareRuntime::~BareRuntime() {
  Leave();
}

G* BareRuntime::goroutine(int i) {
  return &Here()->goroutines[i];
}

M* BeM(int m, int p) {
  M* self = &Here()->threads[m];
  runtime::weft_set_m(self);
  self->curg = &self->g0;
  self->locks = 1;
  runtime::AcquireP(self, &Here()->procs[p]);
  return self;
}

void BeGoroutine(int m, int p) {
  M* self = BeM(m, p);
  G* g = &Here()->goroutines[m];
  self->locks = 0;
  self->curg = g;
  runtime::CasGStatus<runtime::Gdead, runtime::Grunnable>(g);
  runtime::CasGStatus<runtime::Grunnable, runtime::Grunning>(g);
}

Scheduler::Scheduler(int procs, End end) : end_(end) {
  Enter(procs, true);
}
Scheduler::~Scheduler() {
  Leave();
}

void Scheduler::Ended() {
  if (--goroutines_ != 0) return;
  if (end_ == End::kLeftToOthers) LeaveTheRest();
  runtime::BeginExit();
}

void Scheduler::Run() {
  runtime::StartPendingMs();
  Spawn("main", ServeCalls);
  Join();
  Check(runtime::Rt()->live_threads.Load(os::kRelaxed<"world.end">) == 0, "all Ms have left");
}

}  // namespace weft::model
