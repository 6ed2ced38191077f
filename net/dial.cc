// Dial: connecting to the first of several addresses that answers.
#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

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
using internal::FdRef;
using internal::Outcome;
using internal::Side;

namespace {

constexpr int64_t kLeastShare = 2'000'000'000;  // ns; taken from Go's net (partialDeadline)

// The deadline (Nanotime, 0: none) for the first of `addresses` that are still to be tried.
int64_t ShareOf(int64_t deadline, int64_t addresses) {
  if (deadline == 0) return 0;
  const int64_t now = runtime::Nanotime();
  const int64_t share = std::max((deadline - now) / addresses, kLeastShare);
  return std::min(deadline, now + share);
}

// Waits until the connection stands: 0, or why it does not. connect(2) asked again says which of
// the two a report of writability meant: 0 or EISCONN, an error, or EALREADY for a report too many.
Outcome Connect(Fd* fd, os::Family family, const os::Endpoint& remote, int64_t deadline,
                const Context& ctx) {
  Fd::Turn turn(fd, Side::kWrite, ctx);
  if (!turn.entered()) return turn.refusal();
  fd->SetNanotimeDeadline(Side::kWrite, deadline);
  for (;;) {
    if (Outcome check = fd->Check(Side::kWrite, ctx); check < 0) return check;
    const int connected = os::Connect(fd->number(), family, remote);
    if (connected >= 0 || connected == -EISCONN) break;
    if (connected != -EINPROGRESS && connected != -EALREADY && connected != -EINTR) {
      return connected;
    }
    if (Outcome wait = fd->Await(Side::kWrite, ctx); wait < 0) return wait;
  }
  fd->SetNanotimeDeadline(Side::kWrite, 0);
  fd->StopWatching(Side::kWrite);
  return 0;
}

// A connected socket, or null and why.
FdRef DialOne(const char* network, const Address& address, int64_t deadline, const Context& ctx,
              Outcome* outcome) {
  const os::Family family = address.is_ipv4() ? os::Family::kIpv4 : os::Family::kIpv6;
  const int number = os::TcpSocket(family);
  if (number < 0) {
    *outcome = number;
    return FdRef();
  }
  FdIdentity identity{network, Address(), address};
  *outcome = os::SetSocketOption(number, os::SocketOption::kNoDelay, true);
  Fd* opened = nullptr;
  if (*outcome >= 0) opened = Fd::New(number, netpoll::Kind::kStream, identity, outcome);
  if (opened == nullptr) {
    os::CloseFd(number);
    return FdRef();
  }
  FdRef fd(opened);
  os::Endpoint local;
  *outcome = Connect(opened, family, internal::ToEndpoint(address), deadline, ctx);
  if (*outcome >= 0) *outcome = os::LocalEndpoint(number, &local);
  if (*outcome < 0) return FdRef();
  identity.local = internal::FromEndpoint(local);
  opened->set_identity(identity);
  return fd;
}

// A socket whose port was chosen by the kernel may be given the very port that it connects to,
// when nobody listens there: TCP's simultaneous open then connects it with itself. Go's net tries
// again twice, so do we.
FdRef DialOther(const char* network, const Address& address, int64_t deadline, const Context& ctx,
                Outcome* outcome) {
  for (int attempt = 0;; attempt++) {
    FdRef fd = DialOne(network, address, deadline, ctx, outcome);
    const bool retry =
        *outcome >= 0 ? fd.get()->identity().local == address : *outcome == -EADDRNOTAVAIL;
    if (!retry || attempt == 2) return fd;
  }
}

int64_t DeadlineOf(const DialOptions& options) {
  const int64_t timeout = absl::ToInt64Nanoseconds(options.timeout);
  const int64_t now = runtime::Nanotime();
  if (timeout > INT64_MAX - now) return 0;
  return std::max<int64_t>(now + timeout, 1);
}

}  // namespace

absl::StatusOr<Conn> Dial(std::string_view network, std::string_view address,
                          const DialOptions& options, const Context& ctx) {
  absl::StatusOr<internal::Network> parsed = internal::ParseNetwork(network);
  if (!parsed.ok()) return parsed.status();
  const int64_t deadline = DeadlineOf(options);
  absl::StatusOr<internal::Target> target =
      internal::Resolve(*parsed, address, internal::Purpose::kDial, deadline, ctx);
  if (!target.ok()) return target.status();
  absl::Status first_error;
  for (size_t i = 0; i < target->addresses.size(); i++) {
    const Address& remote = target->addresses[i];
    const int64_t left = static_cast<int64_t>(target->addresses.size() - i);
    Outcome outcome = 0;
    FdRef fd = DialOther(parsed->name, remote, ShareOf(deadline, left), ctx, &outcome);
    if (outcome >= 0) return Conn(std::move(fd));
    absl::Status error =
        internal::OperationError("dial", parsed->name, Address(), remote, outcome, ctx);
    const bool out_of_time = deadline != 0 && runtime::Nanotime() >= deadline;
    if (out_of_time || ctx.IsDone()) return error;
    if (first_error.ok()) first_error = std::move(error);
  }
  return first_error;
}

}  // namespace weft::net
