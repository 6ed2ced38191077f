// Choosing the poller, and the runtime's life around it.
#include "runtime/start.h"

#include <cstring>
#include <string>

#include "netpoll/file_ring.h"
#include "netpoll/pollers.h"
#include "runtime/fatal.h"
#include "runtime/os/thread.h"

namespace weft::netpoll {

namespace {

// Not in the runtime's own memory: it outlives the last M.
struct Choice {
  bool rings = true;
  bool insist = false;
};

Choice Choose(std::string_view wanted) {
  if (wanted.empty()) {
    const char* set = os::Environment("WEFT_NETPOLL");
    wanted = set == nullptr ? "" : set;
  }
  if (wanted.empty() || wanted == "auto") return {true, false};
  if (wanted == "io_uring") return {true, true};
  if (wanted == "epoll") return {false, false};
  std::string text(wanted);
  runtime::Fatal("netpoller \"%s\" is not known: auto, io_uring or epoll", text.c_str());
}

std::string_view wanted_netpoll;

// What a ring of ours would meet.
int TryRing() {
  os::Uring ring;
  int error = ring.Open(8, 16);
  if (error == 0) ring.Close();
  return error;
}

void Open(runtime::Runtime* rt) {
  Choice choice = Choose(wanted_netpoll);
  Netpoll* np = new Netpoll;
  the_netpoll = np;
  if (choice.rings) {
    np->refused = TryRing();
    np->use_rings = np->refused == 0;
    if (!np->use_rings && choice.insist) {
      runtime::Fatal("io_uring is refused: %s", strerror(-np->refused));
    }
  }
  if (int error = np->shared.Open(); error != 0) {
    runtime::Fatal("epoll_create1: %s", strerror(-error));
  }
  np->shared_wake_fd = os::OpenEvent();
  if (np->shared_wake_fd < 0) runtime::Fatal("eventfd: %s", strerror(-np->shared_wake_fd));
  if (int error = np->shared.AddLevel(np->shared_wake_fd, os::kPollIn, 0); error != 0) {
    runtime::Fatal("epoll_ctl: %s", strerror(-error));
  }
  rt->poller = ThePoller();
}

// Rings' eventfds: wakers may use them as long as any thread runs.
void CloseWakers() {
  // Nobody else is left.
  runtime::M* m = runtime::Rt()->all_ms.Load(os::kRelaxed<"netpoll.close.all_ms">);
  for (; m != nullptr; m = m->all_next) {
    const Ring* r =
        static_cast<Ring*>(m->ring.Load(os::kRelaxed<"netpoll.close.ring">));  // as above
    if (r != nullptr && r->wake_fd >= 0) os::CloseDescriptor(r->wake_fd);
  }
}

void Close() {
  Netpoll* np = the_netpoll;
  CloseWakers();
  np->shared.Close();
  os::CloseDescriptor(np->shared_wake_fd);
  the_netpoll = nullptr;
  delete np;
}

}  // namespace

void Run(const RuntimeOptions& options, void (*fn)(void*), void* arg) {
  wanted_netpoll = options.netpoll;
  runtime::RunRuntime(options, fn, arg, {Open, StopFileRing, Close});
}

}  // namespace weft::netpoll

namespace weft {

namespace internal {
void RunMain(const RuntimeOptions& options, void (*fn)(void*), void* arg) {
  netpoll::Run(options, fn, arg);
}
}  // namespace internal

std::string NetpollName() {
  const netpoll::Netpoll* np = netpoll::Np();
  if (np == nullptr) return "none: no runtime";
  if (np->use_rings) return "io_uring";
  if (np->refused == 0) return "epoll";
  return std::string("epoll (io_uring refused: ") + strerror(-np->refused) + ")";
}

}  // namespace weft
