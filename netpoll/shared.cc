// The shared set: one epoll set for all Ms. In it are listeners, what plain threads and bound Ms
// wait for, and what was moved from rings; everything where rings are not used.
//
// Who reads it: every M at its scheduler's tick and when it runs dry; one idle M at a time sleeps
// in it (shared_watcher). Every ring polls the set as well, so that an M that sleeps in its ring
// sees to both. When nobody has read it for 10 ms, sysmon does.
//
// The sleeper is woken by an eventfd in the set. Other Ms read the set at the same time and would
// take an edge away from it: the eventfd is level-triggered, and only a sleeper drains it.
#include "netpoll/pollers.h"
#include "runtime/os/clock.h"

namespace weft::netpoll {

namespace {
constexpr int kReadAtOnce = 128;
constexpr uint64_t kWakeToken = 0;
}  // namespace

// Until nothing is left: who was told by an edge is not told again.
void ReadShared(int64_t timeout_ns, runtime::GQueue* out) {
  Netpoll* np = Np();
  os::EpollEvent events[kReadAtOnce];
  bool sleeps = timeout_ns != 0;
  runtime::Bump(np->shared_reads);  // a lost count costs sysmon a look
  for (;;) {
    int n = np->shared.Wait(events, kReadAtOnce, timeout_ns);
    if (n > 0) WarmUp(events, static_cast<unsigned>(n));
    for (int i = 0; i < n; i++) {
      if (events[i].user_data == kWakeToken) {
        if (sleeps) os::DrainEvent(np->shared_wake_fd);
        continue;
      }
      if (Desc* d = Desc::FromToken(events[i].user_data); d != nullptr) {
        Report(d, events[i].user_data, events[i].mask, out);
      }
    }
    if (n < kReadAtOnce) return;
    timeout_ns = 0;
  }
}

}  // namespace weft::netpoll
