// Descriptors: their pool, and which of the two the kernel reports them through.
#include "netpoll/pollers.h"
#include "runtime/fatal.h"

namespace weft::netpoll {

using runtime::M;

Desc* AllocateDesc() {
  Netpoll* np = Np();
  np->desc_count.FetchAdd(1, os::kRelaxed<"desc.count.open">);  // a counter
  {
    runtime::LockGuard guard(np->pool_lock);
    if (Desc* d = np->pool; d != nullptr) {
      np->pool = d->free_next;
      return d;
    }
  }
  return runtime::Rt()->alloc.New<Desc>();
}

void FreeDesc(Desc* d) {
  runtime::LockGuard guard(Np()->pool_lock);
  d->free_next = Np()->pool;
  Np()->pool = d;
}

void EndUse(Desc* d) {
  d->flags.FetchAdd(kGeneration, os::kRelaxed<"desc.close.generation">);
  FreeDesc(d);
}

int RegisterShared(Desc* d) {
  Netpoll* np = Np();
  int error = np->shared.Add(d->fd, kBothModes, d->Token());
  if (error != 0) return error;
  d->in_shared = true;
  // Before the look for a watcher (WatchShared).
  np->shared_count.FetchAdd(1, os::kSeqCst<"shared.count.add">);
  return 0;
}

// Who chooses where to sleep looks at shared_count after it has put itself into the idle list; the
// caller has counted before it looks here. So the sleeper sees the count, or is found idle. All of
// it is seq_cst, but no harness has both (poller.shared).
void WatchShared() {
  if (Np()->shared_watcher.Load(os::kSeqCst<"shared.watcher.look">) != nullptr) return;
  if (runtime::Rt()->idle_p_count.Load(os::kSeqCst<"shared.watcher.idle">) == 0) return;
  runtime::StartM(runtime::GetM(), nullptr, false);
}

int Register(Desc* d) {
  Netpoll* np = Np();
  M* m = runtime::GetM();
  if (m != nullptr) m->locks++;
  bool in_ring = false;
  int error = 0;
  {
    runtime::LockGuard guard(d->lock);
    if (!d->registered.Load(os::kRelaxed<"register.again">)) {  // under the lock
      Ring* r = np->use_rings && d->kind == Kind::kStream && m != nullptr && m->p != nullptr
                    ? RingOf(m)
                    : nullptr;
      in_ring = r != nullptr && AddToRing(r, d);
      if (!in_ring && !d->in_shared) error = RegisterShared(d);
      d->registered.Store(error == 0, os::kRelaxed<"register.done">);  // as in Wait 3
    }
  }
  if (!in_ring && error == 0) WatchShared();
  if (m != nullptr) m->locks--;
  return error;
}

void Unregister(M* m, Desc* d, bool descriptor_lives_on) {
  Netpoll* np = Np();
  np->desc_count.FetchSub(1, os::kRelaxed<"desc.count.close">);  // a counter
  bool own = false;
  bool wake_owner = false;
  Ring* r = nullptr;
  int fd = d->fd;
  {
    runtime::LockGuard guard(d->lock);
    if (d->in_shared) {
      np->shared.Remove(d->fd);
      d->in_shared = false;
      np->shared_count.FetchSub(1, os::kRelaxed<"shared.count.remove">);  // a counter
    }
    r = d->ring.Load(os::kRelaxed<"unregister.ring">);  // under the lock
    // Another M's ring may refer to the file: the socket would stay open until it lets go.
    bool elsewhere = d->was_rehomed || (d->was_in_ring && (r == nullptr || r->owner != m));
    if (elsewhere && !descriptor_lives_on) os::ShutdownSocket(fd);
    if (TakeFromRing(m, d, &own, &wake_owner) && !own) d = nullptr;
  }
  if (d == nullptr) {
    if (wake_owner) runtime::WakeM(r->owner);
    return;
  }
  if (!own) {
    EndUse(d);
    return;
  }
  runtime::GQueue ready;
  if (!RemovePollNow(r, d, &ready) && !descriptor_lives_on) os::ShutdownSocket(fd);
  EndUse(d);
  runtime::InjectReady(m, std::move(ready), runtime::kBusy);
}

}  // namespace weft::netpoll
