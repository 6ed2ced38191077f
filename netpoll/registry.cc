// Descriptors: their pool, and which of the two the kernel reports them through.
#include "netpoll/pollers.h"
#include "runtime/fatal.h"

namespace weft::netpoll {

using runtime::M;

namespace {
constexpr uint32_t kMask = os::kPollIn | os::kPollOut | os::kPollReadHangUp;
}

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

int RegisterShared(Desc* d) {
  Netpoll* np = Np();
  int error = np->shared.Add(d->fd, kMask, d->Token());
  if (error != 0) return error;
  d->in_shared = true;
  np->shared_count.FetchAdd(1, os::kSeqCst<"shared.count.add">);  // before the look for a watcher
  return 0;
}

int Register(Desc* d) {
  Netpoll* np = Np();
  M* m = runtime::GetM();
  if (m != nullptr) m->locks++;
  bool done = false;
  int error = 0;
  {
    runtime::LockGuard guard(d->lock);
    if (d->error == 0 && !d->registered.Load(os::kRelaxed<"register.again">)) {  // under the lock
      Ring* r = np->use_rings && d->kind == Kind::kStream && m != nullptr && m->p != nullptr
                    ? RingOf(m)
                    : nullptr;
      done = r != nullptr && AddToRing(r, d);
      if (!done) d->error = RegisterShared(d);
      // Pairs with Wait 3.
      d->registered.Store(d->error == 0, os::kRelease<"register.done">);
    }
    error = d->error;
  }
  // A plain thread has made a set interesting that nobody may be sleeping in.
  if (m == nullptr && error == 0 &&
      np->shared_watcher.Load(os::kSeqCst<"shared.watcher.look">) == nullptr) {
    runtime::StartM(nullptr, nullptr, false);
  }
  if (m != nullptr) m->locks--;
  return error;
}

void Unregister(M* m, Desc* d, bool descriptor_lives_on) {
  Netpoll* np = Np();
  Ring* r = nullptr;
  bool own = false;
  {
    runtime::LockGuard guard(d->lock);
    r = UnlinkFromRing(d);
    own = r != nullptr && m != nullptr && r->owner == m;
    if (d->in_shared) {
      np->shared.Remove(d->fd);
      d->in_shared = false;
      np->shared_count.FetchSub(1, os::kRelaxed<"shared.count.remove">);  // a counter
    }
    // Another M's ring may refer to the file: the socket would stay open until it lets go.
    if (d->was_in_ring && !own && !descriptor_lives_on) os::ShutdownSocket(d->fd);
  }
  np->desc_count.FetchSub(1, os::kRelaxed<"desc.count.close">);  // a counter
  if (r != nullptr && !own) {
    LeaveToOwner(r, d);
    return;
  }
  runtime::GQueue ready;
  if (own) RemovePollNow(r, d, &ready);
  // Reports for this use are not for the next.
  d->generation.FetchAdd(1, os::kRelaxed<"desc.close.generation">);
  FreeDesc(d);
  if (own) runtime::InjectReady(m, std::move(ready));
}

}  // namespace weft::netpoll
