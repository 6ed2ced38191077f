// Counters for programs and tests.
#include "runtime/sched.h"
#include "weft/go.h"
#include "weft/runtime.h"

namespace weft {

using runtime::P;
using runtime::Runtime;

namespace {

void AddP(const P* p, RuntimeStats* s) {
  // Counters and a moment's truth.
  switch (p->state.Load(os::kRelaxed<"stats.state">)) {
    case runtime::Pidle:
      s->idle_procs++;
      break;
    case runtime::Prunning:
      s->running_procs++;
      break;
    case runtime::Psyscall:
      s->syscall_procs++;
      break;
    default:
      break;
  }
  s->context_switches += p->switches.Load(os::kRelaxed<"stats.switches">);
  s->steals += p->steals.Load(os::kRelaxed<"stats.steals">);
  s->preemptions += p->preemptions.Load(os::kRelaxed<"stats.preemptions">);
}

size_t CachedStackBytes(const Runtime* rt) {
  size_t stacks = 0;
  int32_t made = rt->made_procs.Load(os::kAcquire<"stats.cached">);  // pairs with InitP
  for (int32_t i = 0; i < made; i++) stacks += static_cast<size_t>(rt->all_ps[i]->stacks.size());
  return stacks * runtime::StackClassBytes(rt->default_stack_class);
}

}  // namespace

RuntimeStats Stats() {
  RuntimeStats s = {};
  Runtime* rt = runtime::Rt();
  if (rt == nullptr) return s;
  runtime::Entry entry;
  s.goroutines = NumGoroutine();
  s.procs = rt->procs.Load(os::kAcquire<"stats.procs">);           // pairs with ResizeProcs
  int32_t made = rt->made_procs.Load(os::kAcquire<"stats.made">);  // pairs with InitP
  for (int32_t i = 0; i < made; i++) AddP(rt->all_ps[i], &s);
  {
    runtime::LockGuard guard(rt->sched_lock);
    s.threads = rt->m_count;
    s.idle_threads = rt->idle_m_count;
  }
  s.timers = runtime::CountTimers();
  s.stack_bytes = rt->stacks.bytes_out() - CachedStackBytes(rt);
  s.runtime_bytes = rt->alloc.mapped_bytes();
  // Counters, each by itself.
  s.handoffs = rt->handoffs.Load(os::kRelaxed<"stats.handoffs">);
  s.netpoll_readied = rt->netpoll_readied.Load(os::kRelaxed<"stats.readied">);
  s.netpoll_readied_in_stw = rt->netpoll_readied_in_stw.Load(os::kRelaxed<"stats.readied_stw">);
  s.netpoll_moved = rt->netpoll_moved.Load(os::kRelaxed<"stats.moved">);
  s.netpoll_rehomed = rt->netpoll_rehomed.Load(os::kRelaxed<"stats.rehomed">);
  s.netpoll_rings = rt->netpoll_rings.Load(os::kRelaxed<"stats.rings">);
  if (rt->poller != nullptr) s.poll_descriptors = rt->poller->descriptors();
  return s;
}

}  // namespace weft
