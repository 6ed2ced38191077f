// Listening, and accepting when descriptors run out.
//
// The problem. accept(2) fails with EMFILE while the process has no descriptor left. The connection
// stays in the backlog, so that a level-triggered loop spins, and an edge-triggered one that
// waits for the next report sleeps beside connections that it could serve. A server must do
// neither, nor give up: descriptors come back when connections end.
//
//   1. On EMFILE, ENFILE, ENOBUFS or ENOMEM Accept backs off: 5 ms at first, twice as long each
//      time, at most 1 s, as Go's net/http does. It keeps its turn, so that others wait behind it.
//   2. Backing off is a wait in the netpoller under a deadline of its own (listeners have no
//   other),
//      so that Close and the Context end it as they end any wait; a report of further
//      connections does not.
//   3. Then it accepts without waiting for a report: the one for the connections in the backlog has
//      been consumed long ago.
// Only when that has gone on for `accept_patience` does it fail, with kResourceExhausted.
#include <algorithm>
#include <cerrno>

#include "net/address.h"
#include "net/error.h"
#include "net/fd.h"
#include "net/resolve.h"
#include "runtime/os/socket.h"
#include "runtime/timer.h"
#include "weft/net.h"

namespace weft::net {

using internal::Fd;
using internal::FdIdentity;
using internal::kTimedOut;
using internal::Outcome;
using internal::Side;

namespace {

constexpr int64_t kFirstBackOff = 5'000'000;        // ns; taken from Go's net/http
constexpr int64_t kLongestBackOff = 1'000'000'000;  // ns; likewise

// What accept says of the one connection that it was about to return (accept(2), "Error
// handling"): that connection is gone, the next may be well.
bool IsOfOneConnection(Outcome error) {
  switch (error) {
    case -ECONNABORTED:
    case -EINTR:
    case -EPERM:  // a firewall's rule
    case -EPROTO:
    case -ENOPROTOOPT:
    case -ENETDOWN:
    case -ENETUNREACH:
    case -EHOSTDOWN:
    case -EHOSTUNREACH:
    case -ENONET:
      return true;
    default:
      return false;
  }
}

bool IsExhaustion(Outcome error) {
  return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

// Step 2. Waits until Nanotime() is `until`: 0; or why it ended before.
Outcome BackOff(Fd* fd, int64_t until, const Context& ctx) {
  fd->SetNanotimeDeadline(Side::kRead, until);
  Outcome outcome = 0;
  do {
    outcome = fd->Await(Side::kRead, ctx);
  } while (outcome == 0);
  fd->SetNanotimeDeadline(Side::kRead, 0);
  return outcome == kTimedOut ? 0 : outcome;
}

// The next connection's descriptor, or why there is none.
Outcome AcceptOne(Fd* fd, absl::Duration patience, os::Endpoint* remote, const Context& ctx) {
  Fd::Turn turn(fd, Side::kRead, ctx);
  if (!turn.entered()) return turn.refusal();
  if (Outcome check = fd->Check(Side::kRead, ctx); check < 0) return check;
  { runtime::Entry poll; }  // connections may come faster than it asks
  int64_t back_off = 0;
  int64_t give_up = 0;  // Nanotime
  for (;;) {
    const Outcome accepted = os::Accept(fd->number(), remote);
    if (accepted >= 0) return accepted;
    if (accepted == -EAGAIN) {
      if (Outcome wait = fd->Await(Side::kRead, ctx); wait < 0) return wait;
    } else if (IsExhaustion(accepted)) {  // 1.
      const int64_t now = runtime::Nanotime();
      if (back_off == 0) {
        const int64_t left = absl::ToInt64Nanoseconds(patience);
        give_up = left > INT64_MAX - now ? INT64_MAX : now + left;
      }
      if (now >= give_up) return accepted;
      back_off = back_off == 0 ? kFirstBackOff : std::min(2 * back_off, kLongestBackOff);
      const int64_t until = std::min(now + back_off, give_up);
      if (Outcome wait = BackOff(fd, until, ctx); wait < 0) return wait;
    } else if (!IsOfOneConnection(accepted)) {
      return accepted;
    }
  }
}

os::Family FamilyOf(const Address& address) {
  return address.is_ipv4() ? os::Family::kIpv4 : os::Family::kIpv6;
}

// A listening socket, or -errno.
int OpenListener(const Address& address, bool dual_stack, const ListenOptions& options) {
  const os::Family family = FamilyOf(address);
  const int fd = os::TcpSocket(family);
  if (fd < 0) return fd;
  using os::SocketOption;
  int error = os::SetSocketOption(fd, SocketOption::kReuseAddress, true);
  if (error >= 0 && options.reuse_port) {
    error = os::SetSocketOption(fd, SocketOption::kReusePort, true);
  }
  if (error >= 0 && family == os::Family::kIpv6) {
    error = os::SetSocketOption(fd, SocketOption::kIpv6Only, !dual_stack);
  }
  // Accepted sockets inherit it: one call for all of them.
  if (error >= 0) error = os::SetSocketOption(fd, SocketOption::kNoDelay, true);
  if (error >= 0) error = os::Bind(fd, family, internal::ToEndpoint(address));
  if (error >= 0) error = os::Listen(fd, options.backlog);
  if (error >= 0) return fd;
  os::CloseFd(fd);
  return error;
}

// The first of the target's addresses that can be had. A dual-stack target's second address is
// for machines without IPv6.
absl::StatusOr<int> OpenFirst(const internal::Target& target, const char* network,
                              const ListenOptions& options) {
  absl::Status first_error;
  for (const Address& address : target.addresses) {
    const int fd = OpenListener(address, target.dual_stack && address.is_ipv6(), options);
    if (fd >= 0) return fd;
    if (first_error.ok()) {
      first_error = internal::OperationError("listen", network, address, Address(), fd,
                                             Context::Background());
    }
    const bool no_ipv6 = fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL;
    if (target.dual_stack && !no_ipv6) break;
  }
  return first_error;
}

}  // namespace

absl::StatusOr<Listener> Listen(std::string_view network, std::string_view address,
                                const ListenOptions& options, const Context& ctx) {
  absl::StatusOr<internal::Network> parsed = internal::ParseNetwork(network);
  if (!parsed.ok()) return parsed.status();
  absl::StatusOr<internal::Target> target =
      internal::Resolve(*parsed, address, internal::Purpose::kListen, /*deadline=*/0, ctx);
  if (!target.ok()) return target.status();
  absl::StatusOr<int> fd = OpenFirst(*target, parsed->name, options);
  if (!fd.ok()) return fd.status();
  os::Endpoint local;
  Outcome outcome = os::LocalEndpoint(*fd, &local);
  Fd* opened = nullptr;
  const FdIdentity identity{parsed->name, internal::FromEndpoint(local), Address()};
  if (outcome >= 0) opened = Fd::New(*fd, netpoll::Kind::kShared, identity, &outcome);
  if (opened == nullptr) {
    os::CloseFd(*fd);
    return internal::OperationError("listen", parsed->name, identity.local, Address(), outcome,
                                    ctx);
  }
  Listener listener{internal::FdRef(opened)};
  listener.accept_patience_ = options.accept_patience;
  return listener;
}

absl::StatusOr<Conn> Listener::Accept(const Context& ctx) {
  Fd* fd = fd_.get();
  if (fd == nullptr) return absl::FailedPreconditionError("accept: no listener");
  os::Endpoint remote;
  const Outcome accepted = AcceptOne(fd, accept_patience_, &remote, ctx);
  if (accepted < 0) return fd->Error("accept", accepted, ctx);
  const int number = static_cast<int>(accepted);
  FdIdentity identity = fd->identity();
  identity.remote = internal::FromEndpoint(remote);
  Outcome outcome = 0;
  if (identity.local.is_wildcard()) {
    os::Endpoint local;
    outcome = os::LocalEndpoint(number, &local);
    identity.local = internal::FromEndpoint(local);
  }
  Fd* conn = nullptr;
  if (outcome >= 0) conn = Fd::New(number, netpoll::Kind::kStream, identity, &outcome);
  if (conn == nullptr) {
    os::CloseFd(number);
    return fd->Error("accept", outcome, ctx);
  }
  return Conn(internal::FdRef(conn));
}

bool Listener::Close() {
  return fd_.get() != nullptr && fd_.get()->Close();
}

Address Listener::Addr() const {
  return fd_.get() != nullptr ? fd_.get()->identity().local : Address();
}

}  // namespace weft::net
