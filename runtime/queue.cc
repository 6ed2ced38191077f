// Where runnable goroutines wait: a P's ring, the global queue.
#include "runtime/sched.h"

namespace weft::runtime {

void PushLocal(P* p, G* g) {
  GQueue overflow;
  p->runq.Push(g, &overflow);
  if (!overflow.empty()) [[unlikely]]
    PushGlobalQueue(std::move(overflow));
}

void PushNext(P* p, G* g) {
  G* kicked = p->runq.PutNext(g);
  if (kicked == nullptr) return;
  PushLocal(p, kicked);
  // PutNext's barrier came before this push, and a thief may have taken `g` since: who looks for
  // the last time then must see `kicked`, or be seen idle (wake.cc, rule 1). The explorer finds
  // it missing in random schedules only (stress/regressions/kicked-without-barrier).
  if (!p->runq.alone()) os::Fence(os::kSeqCst<"push.next.fence">);
}

void PushGlobalLocked(G* g) {
  Rt()->sched_lock.AssertHeld();
  Rt()->global_queue.PushBack(g);
  // Peeked without the lock by Ms that look for work, who take the lock when it is not 0.
  Rt()->global_size.Store(Rt()->global_queue.size(), os::kRelaxed<"global.size.push">);
}

void PushGlobal(G* g) {
  LockGuard guard(Rt()->sched_lock);
  PushGlobalLocked(g);
}

void PushGlobalQueue(GQueue&& queue) {
  LockGuard guard(Rt()->sched_lock);
  Rt()->global_queue.Append(std::move(queue));
  Rt()->global_size.Store(Rt()->global_queue.size(),
                          os::kRelaxed<"global.size.append">);  // as above
}

G* PopGlobalLocked(P* p, int32_t max) {
  Runtime* rt = Rt();
  rt->sched_lock.AssertHeld();
  int32_t size = rt->global_queue.size();
  if (size == 0) return nullptr;
  // A fair share, so that one P does not take all that waits.
  int32_t procs = rt->procs.Load(os::kRelaxed<"global.procs">);  // stable while a P is held
  int32_t n = size / procs + 1;
  if (n > size) n = size;
  if (max > 0 && n > max) n = max;
  if (n > static_cast<int32_t>(kRunQueueCapacity) / 2) n = kRunQueueCapacity / 2;
  G* first = rt->global_queue.PopFront();
  GQueue overflow;
  for (int32_t i = 1; i < n; i++) p->runq.Push(rt->global_queue.PopFront(), &overflow);
  rt->global_queue.Append(std::move(overflow));
  rt->global_size.Store(rt->global_queue.size(), os::kRelaxed<"global.size.pop">);  // as above
  return first;
}

void InjectReady(M* m, GQueue&& queue, Injector injector) {
  if (queue.empty()) return;
  int32_t n = queue.size();
  P* p = m->p;
  if (p == nullptr) {
    PushGlobalQueue(std::move(queue));
    // Somebody without work of its own should see to each; the first of them finds the others.
    for (int32_t i = 0; i < n && Rt()->idle_p_count.Load(os::kSeqCst<"inject.idle">) > 0; i++) {
      StartM(m, nullptr, false);
    }
    return;
  }
  bool only = n == 1 && m->take_next == nullptr && p->runq.Size() == 0;
  while (G* g = queue.PopFront()) PushLocal(p, g);
  if (only && injector == kLooksNext) return;  // the M runs it itself
  FenceAndWakeP();
}

}  // namespace weft::runtime
