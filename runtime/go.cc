// Goroutines come and go: spawning, ending, reuse.
//
// A goroutine is a G with a closure. It gets its stack when it first runs, so that one that waits
// in a queue costs a G (under 400 bytes); when it ends, its stack goes to the next new one
// without a switch to anything else (park.cc).
// Dead Gs are kept by the P (its M's alone), beyond kDeadPerP in a global list.
//
// Budget (bench/micro "spawn+exit"): 3 CAS (Gdead -> Grunnable -> Grunning -> Gdead) and the run
// queue's exchange and CAS.
#include "weft/go.h"

#include "runtime/fatal.h"
#include "runtime/gate.h"
#include "runtime/sanitizer.h"
#include "runtime/sched.h"

namespace weft::runtime {

namespace {

constexpr int32_t kDeadPerP = 64;    // chosen: a burst's worth
constexpr uint64_t kGoidBatch = 16;  // taken from Go
constexpr size_t kMaxClosureAlign = 64;

G* CarveG(Runtime* rt) {
  LockGuard guard(rt->gs_lock);
  if (rt->slab_used == GSlab::kGs) {
    GSlab* slab = rt->alloc.New<GSlab>();
    slab->next = rt->slabs;
    rt->slabs = slab;
    rt->slab_used = 0;
  }
  return &rt->slabs->gs[rt->slab_used++];
}

G* TakeDead(Runtime* rt, P* p) {
  if (p != nullptr && !p->dead_gs.empty()) return p->dead_gs.PopFront();
  LockGuard guard(rt->dead_lock);
  G* g = rt->dead_gs.PopFront();
  if (p == nullptr || g == nullptr) return g;
  while (p->dead_gs.size() < kDeadPerP / 2 && !rt->dead_gs.empty()) {
    p->dead_gs.PushFront(rt->dead_gs.PopFront());
  }
  return g;
}

uint64_t NextGoid(Runtime* rt, P* p) {
  if (p == nullptr) return rt->goid_gen.FetchAdd(1, os::kRelaxed<"goid.one">) + 1;  // a counter
  if (p->next_goid == p->end_goid) {
    p->next_goid = rt->goid_gen.FetchAdd(kGoidBatch, os::kRelaxed<"goid.batch">) + 1;  // a counter
    p->end_goid = p->next_goid + kGoidBatch;
  }
  return p->next_goid++;
}

void CountGoroutine(Runtime* rt, P* p, int64_t by) {
  if (p != nullptr) {
    Bump(p->spawned, by);
  } else {
    rt->foreign_spawned.FetchAdd(by, os::kRelaxed<"goroutines.foreign">);  // a counter
  }
}

}  // namespace

G* AllocateG(M* m) {
  Runtime* rt = Rt();
  P* p = m != nullptr ? m->p : nullptr;
  G* g = TakeDead(rt, p);
  if (g == nullptr) {
    g = CarveG(rt);
    CasGStatus<Gidle, Gdead>(g);
  }
  g->goid = NextGoid(rt, p);
  return g;
}

// Gdead already; its stack and closure are gone.
void FreeG(M* m, G* g) {
  P* p = m != nullptr ? m->p : nullptr;
  Runtime* rt = Rt();
  if (p == nullptr) {
    LockGuard guard(rt->dead_lock);
    rt->dead_gs.PushFront(g);
    return;
  }
  p->dead_gs.PushFront(g);
  if (p->dead_gs.size() <= kDeadPerP) return;
  LockGuard guard(rt->dead_lock);
  while (p->dead_gs.size() > kDeadPerP / 2) rt->dead_gs.PushFront(p->dead_gs.PopFront());
}

void StartG(M* m, G* g) {
  CountGoroutine(Rt(), m != nullptr ? m->p : nullptr, 1);
  CasGStatus<Gdead, Grunnable>(g);
  if (m != nullptr && m->p != nullptr) {
    PushNext(m->p, g);
    WakeP();
  } else {
    PushGlobal(g);
    FenceAndWakeP();
  }
}

void ReleaseExited(M* m, G* g) {
  P* p = m->p;
  if (g->stack.hi != 0) {
    UnpoisonStack(g->stack.lo, g->stack.hi);
    if (g->stack_class == Rt()->default_stack_class) {
      if (p->stacks.size() == StackCache::kCapacity) {
        Rt()->stacks.Drain(&p->stacks, g->stack_class, StackCache::kCapacity / 2);
      }
      p->stacks.Push(g->stack);
    } else {
      Rt()->stacks.Free(g->stack, g->stack_class);
    }
    g->stack = Stack();
  }
  DeleteFiber(g->sanitizer_fiber);
  g->sanitizer_fiber = nullptr;
  g->started = false;
  if (g->lock_count > 0) {
    // What the goroutine did to its thread is not undone: the thread ends too.
    g->lock_count = 0;
    g->lockedm.Store(nullptr, os::kRelaxed<"exit.lockedm">);  // the goroutine's own
    m->lockedg.Store(nullptr, os::kRelaxed<"exit.lockedg">);  // its own thread's
    m->end_thread = true;
  }
  CountGoroutine(Rt(), p, -1);
  CasGStatus<Grunning, Gdead>(g);
  FreeG(m, g);
}

// Where every goroutine begins, called by weft_gostart on the new stack.
extern "C" void weft_goroutine_main(M* m) {
  G* g = m->curg;
  AfterSwitchTo(nullptr);
  FinishSwitch(m);
  m->locks--;
  g->run(g->closure);
  m = GetM();
  m->locks++;
  if (m->p == nullptr) Fatal("goroutine %u ends inside weft::Blocking", g->goid);
  if (g->closure_bytes != 0) {
    Rt()->alloc.Free(g->closure, g->closure_bytes);
    g->closure_bytes = 0;
  }
  ExitGoroutine(m, g);
}

}  // namespace weft::runtime

namespace weft {

using runtime::G;
using runtime::M;
using runtime::Rt;

namespace internal {

NewGoroutine AllocateGoroutine(size_t closure_size, size_t alignment, const GoOptions& options,
                               void* created_by) {
  // A plain thread holds the gate until the goroutine is started, or given up.
  if (runtime::GetM() == nullptr && !runtime::foreign_gate.Enter()) {
    runtime::Fatal("weft::Go before weft::Main or after its end");
  }
  if (alignment > runtime::kMaxClosureAlign) {
    runtime::Fatal("weft::Go: a closure aligned to %u bytes; %u is the most",
                   static_cast<uint64_t>(alignment),
                   static_cast<uint64_t>(runtime::kMaxClosureAlign));
  }
  runtime::Entry entry;
  G* g = runtime::AllocateG(entry.m());
  g->created_by = created_by;
  g->wait_reason = WaitReason::kNone;
  g->context_slot = nullptr;
  g->eh_globals[0] = g->eh_globals[1] = 0;
  g->stack_class =
      static_cast<uint8_t>(options.stack_size == 0 ? Rt()->default_stack_class
                                                   : runtime::StackClassOf(options.stack_size));
  if (closure_size <= runtime::kInlineClosureBytes && alignment <= 16) {
    g->closure = g->inline_closure;
    g->closure_bytes = 0;
  } else {
    size_t bytes = closure_size < 64 ? 64 : closure_size;  // 64-byte aligned from there on
    g->closure = Rt()->alloc.Allocate(bytes);
    g->closure_bytes = static_cast<uint32_t>(bytes);
  }
  return {g, g->closure};
}

void StartGoroutine(Goroutine* g, void (*run)(void* closure)) {
  runtime::Entry entry;
  g->run = run;
  runtime::StartG(entry.m(), g);
  if (entry.m() == nullptr) runtime::foreign_gate.Leave();
}

void AbandonGoroutine(Goroutine* g) {
  runtime::Entry entry;
  if (g->closure_bytes != 0) Rt()->alloc.Free(g->closure, g->closure_bytes);
  g->closure_bytes = 0;
  runtime::FreeG(entry.m(), g);
  if (entry.m() == nullptr) runtime::foreign_gate.Leave();
}

}  // namespace internal

void LockOSThread() {
  M* m = runtime::GetM();
  if (m == nullptr) runtime::Fatal("weft::LockOSThread on a plain thread");
  G* g = m->curg;
  g->lock_count++;
  g->lockedm.Store(m, os::kRelaxed<"lock.lockedm">);  // read by who takes it from a queue
  m->lockedg.Store(g, os::kRelaxed<"lock.lockedg">);  // the thread's own
}

void UnlockOSThread() {
  M* m = runtime::GetM();
  if (m == nullptr) runtime::Fatal("weft::UnlockOSThread on a plain thread");
  G* g = m->curg;
  if (g->lock_count == 0) {
    runtime::Fatal("weft::UnlockOSThread: goroutine %u is not locked to its thread", g->goid);
  }
  if (--g->lock_count > 0) return;
  g->lockedm.Store(nullptr, os::kRelaxed<"unlock.lockedm">);  // as above
  m->lockedg.Store(nullptr, os::kRelaxed<"unlock.lockedg">);  // as above
}

uint64_t GoroutineId() {
  M* m = runtime::GetM();
  return m == nullptr ? 0 : m->curg->goid;
}

int NumGoroutine() {
  runtime::Runtime* rt = Rt();
  if (rt == nullptr) return 0;
  int64_t n = rt->foreign_spawned.Load(os::kRelaxed<"goroutines.read">);  // a counter
  int32_t made = rt->made_procs.Load(os::kAcquire<"goroutines.procs">);   // pairs with InitP
  for (int32_t i = 0; i < made; i++) {
    n += rt->all_ps[i]->spawned.Load(os::kRelaxed<"goroutines.read.p">);  // a counter
  }
  return static_cast<int>(n);
}

}  // namespace weft
