// The netpoller as the scheduler sees it: what is ready, and how an M that has run dry sleeps.
//
// Where an idle M sleeps: in its ring, if it has one with connections in it (the ring polls the
// shared set too); else in the shared set, if there is something in it and nobody else does; else
// on its futex.
#include "netpoll/pollers.h"
#include "runtime/fatal.h"
#include "runtime/os/clock.h"

namespace weft::netpoll {

Netpoll* the_netpoll = nullptr;

namespace {

using runtime::GQueue;
using runtime::M;
using runtime::MSleep;

constexpr int64_t kUnread_ns = 10'000'000;  // taken from Go: sysmon reads what nobody did
// Wakes in its ring, in a row, for goroutines that others had to run; then its connections move.
constexpr int32_t kOrphanLimit = 256;  // chosen: the move costs as much as a few wakes

Ring* OwnRing(M* m) {
  // The owner's own word.
  Ring* r = static_cast<Ring*>(m->ring.Load(os::kRelaxed<"poller.own">));
  return r != nullptr && r->open ? r : nullptr;
}

void Count(M* m, const GQueue& ready) {
  if (ready.empty()) return;
  runtime::Runtime* rt = runtime::Rt();
  uint64_t n = static_cast<uint64_t>(ready.size());
  // Counters.
  rt->netpoll_readied.FetchAdd(n, os::kRelaxed<"poller.readied">);
  if (rt->stopped.Load(os::kRelaxed<"poller.stopped">) != 0) {
    rt->netpoll_readied_in_stw.FetchAdd(n, os::kRelaxed<"poller.readied_in_stw">);
  }
  if (m != nullptr) m->events.Add(runtime::Event::kNetpoll, n);
}

bool SharedIsEmpty() {
  // Registered after this look: the registrar sees to it that somebody reads (registry.cc). seq_cst
  // against its look: an M that comes by StopM passes no fence. kept, as all on these two words: no
  // harness registers in the shared set beside sleepers. (sysmon reads what is missed in 10 ms.)
  return Np()->shared_count.Load(os::kSeqCst<"poller.shared">) == 0;
}

GQueue Poll(M* m) {
  GQueue ready;
  if (Ring* r = OwnRing(m); r != nullptr) {
    ReadRing(r, 0, false, &ready);
  } else if (!SharedIsEmpty()) {
    ReadShared(0, &ready);
  }
  Count(m, ready);
  return ready;
}

MSleep ChooseSleep(M* m) {
  Ring* r = OwnRing(m);
  if (r != nullptr && m->orphan_wakes > kOrphanLimit) {
    m->events.Add(runtime::Event::kMove, 0);
    GQueue refused;
    MoveToShared(r, &refused);
    runtime::InjectReady(m, std::move(refused), runtime::kBusy);
    m->orphan_wakes = 0;
  }
  // None: what was asked of the owner by who took the last is seen; pairs with ring.count.
  if (r != nullptr && r->count.Load(os::kAcquire<"poller.polls">) > 0) return runtime::kOnRing;
  if (r != nullptr) {
    // Polls to be taken back, and what others closed, are not left for the time of the sleep.
    GQueue none;
    ReadRing(r, 0, false, &none);
    runtime::InjectReady(m, std::move(none), runtime::kBusy);
  }
  M* nobody = nullptr;
  // Pairs with who looks for a watcher after it has registered; who reads that there is none wakes
  // an M in vain, so that the exchange need only be one.
  if (!SharedIsEmpty() &&
      Np()->shared_watcher.CompareExchange(nobody, m, os::kSeqCst<"poller.watch">)) {
    return runtime::kOnShared;
  }
  return runtime::kOnFutex;
}

void DoneSleeping(M*, MSleep how) {
  if (how == runtime::kOnShared) {
    // The next M that runs dry may take it. It hands nothing on; a registrar that still reads the
    // former watcher is as one that came before the wake.
    Np()->shared_watcher.Store(nullptr, os::kRelease<"poller.unwatch">);
  }
}

GQueue Sleep(M* m, MSleep how, int64_t timeout_ns) {
  GQueue ready;
  if (how == runtime::kOnRing) {
    ReadRing(OwnRing(m), timeout_ns, true, &ready);
  } else {
    ReadShared(timeout_ns, &ready);
    DoneSleeping(m, how);
  }
  Count(m, ready);
  return ready;
}

void Wake(M* m, MSleep how) {
  if (how == runtime::kOnRing) {
    // Set before it slept in it; the sleep's CAS and the waker's exchange order it. It may have
    // left the ring since: that and its eventfd stay.
    Ring* r = static_cast<Ring*>(m->ring.Load(os::kRelaxed<"poller.wake">));
    os::SignalEvent(r->wake_fd);
  } else {
    os::SignalEvent(Np()->shared_wake_fd);
  }
}

GQueue Sysmon(int64_t now, bool* look_soon) {
  Netpoll* np = Np();
  GQueue ready;
  *look_soon = WatchRings(now, &ready);
  // Hints.
  uint32_t reads = np->shared_reads.Load(os::kRelaxed<"poller.reads">);
  bool watched = np->shared_watcher.Load(os::kRelaxed<"poller.watcher">) != nullptr;
  if (SharedIsEmpty() || watched || reads != np->seen_reads) {
    np->seen_reads = reads;
    np->seen_reads_when = now;
    return ready;
  }
  if (now - np->seen_reads_when < kUnread_ns) return ready;
  np->seen_reads_when = now;
  ReadShared(0, &ready);
  Count(nullptr, ready);
  return ready;
}

void ExitM(M* m) {
  Ring* r = OwnRing(m);
  if (r == nullptr) return;
  GQueue refused;
  CloseRing(r, &refused);
  runtime::InjectReady(m, std::move(refused), runtime::kBusy);
}

bool IsUnwatched() {
  if (SharedIsEmpty()) return false;
  // A hint: who is about to sleep in it will see to it, once more is harmless.
  if (Np()->shared_watcher.Load(os::kSeqCst<"poller.unwatched">) != nullptr) return false;
  return !LookAtRings().any_asleep;
}

bool HasLeftRing() {
  return LookAtRings().any_left;
}

int Descriptors() {
  return Np()->desc_count.Load(os::kRelaxed<"poller.descriptors">);  // a counter
}

constexpr runtime::Poller kPoller = {Poll,   ChooseSleep, Sleep,       DoneSleeping, Wake,
                                     Sysmon, ExitM,       IsUnwatched, HasLeftRing,  Descriptors};

}  // namespace

const runtime::Poller* ThePoller() {
  return &kPoller;
}

}  // namespace weft::netpoll
