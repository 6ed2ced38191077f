// Conn: a handle, and the Status for what its Fd says.
#include <cerrno>

#include "net/address.h"
#include "net/error.h"
#include "net/fd.h"
#include "runtime/os/socket.h"
#include "weft/net.h"

namespace weft::net {

using internal::Fd;
using internal::FdIdentity;
using internal::Outcome;
using internal::Side;

namespace {
// An operation on a handle without a socket.
absl::Status NoConn(std::string_view operation) {
  return absl::FailedPreconditionError(std::string(operation).append(": no connection"));
}

absl::Status ToStatus(const Fd* fd, std::string_view operation, Outcome outcome,
                      const Context& ctx) {
  if (outcome >= 0) [[likely]]
    return absl::OkStatus();
  return fd->Error(operation, outcome, ctx);
}

absl::StatusOr<size_t> ToCount(const Fd* fd, std::string_view operation, Outcome outcome,
                               const Context& ctx) {
  if (outcome >= 0) [[likely]]
    return static_cast<size_t>(outcome);
  return fd->Error(operation, outcome, ctx);
}
}  // namespace

absl::StatusOr<Conn> Conn::Adopt(int fd) {
  const auto failed = [](Outcome outcome) {
    return internal::NamedError("adopt", "", outcome, Context::Background());
  };
  const int is_stream = os::IsStreamSocket(fd);
  if (is_stream < 0) return failed(is_stream);
  if (is_stream == 0) return absl::InvalidArgumentError("adopt: not a stream socket");
  os::Endpoint local;
  os::Endpoint remote;
  if (int error = os::LocalEndpoint(fd, &local); error < 0) return failed(error);
  if (int error = os::RemoteEndpoint(fd, &remote); error < 0) return failed(error);
  if (int error = os::SetNonBlocking(fd); error < 0) return failed(error);
  FdIdentity identity{"unix", internal::FromEndpoint(local), internal::FromEndpoint(remote)};
  if (local.length != 0) identity.network = "stream";
  if (os::IsTcpSocket(fd)) {
    identity.network = "tcp";
    os::SetSocketOption(fd, os::SocketOption::kNoDelay, true);
  }
  // Others may have duplicates of it, to which its Close must do nothing: not through a ring, which
  // keeps a file until its owner lets go, so that a socket has to be shut down.
  Outcome outcome = 0;
  Fd* adopted = Fd::New(fd, netpoll::Kind::kShared, identity, &outcome);
  if (adopted == nullptr) return failed(outcome);
  return Conn(internal::FdRef(adopted));
}

absl::StatusOr<int> Conn::Release() {
  Fd* fd = fd_.get();
  if (fd == nullptr) return NoConn("release");
  const Outcome outcome = fd->Release();
  if (outcome == -EBUSY) {
    return absl::FailedPreconditionError("release: an operation is under way");
  }
  if (outcome < 0) return fd->Error("release", outcome, Context::Background());
  return static_cast<int>(outcome);
}

absl::StatusOr<size_t> Conn::Read(std::span<char> buffer, const Context& ctx) {
  Fd* fd = fd_.get();
  if (fd == nullptr) return NoConn("read");
  return ToCount(fd, "read", fd->Read(buffer, ctx), ctx);
}

absl::StatusOr<Chunk> Conn::Receive(const Context& ctx) {
  Fd* fd = fd_.get();
  if (fd == nullptr) return NoConn("read");
  Chunk chunk;
  if (Outcome outcome = fd->Receive(&chunk, ctx); outcome < 0) [[unlikely]] {
    return fd->Error("read", outcome, ctx);
  }
  return chunk;
}

absl::StatusOr<size_t> Conn::Write(std::string_view data, const Context& ctx) {
  Fd* fd = fd_.get();
  if (fd == nullptr) return NoConn("write");
  return ToCount(fd, "write", fd->Write(data, ctx), ctx);
}

absl::Status Conn::WriteAll(std::string_view data, const Context& ctx) {
  Fd* fd = fd_.get();
  if (fd == nullptr) return NoConn("write");
  return ToStatus(fd, "write", fd->WriteAll(data, ctx), ctx);
}

absl::Status Conn::Writev(std::span<const std::string_view> parts, const Context& ctx) {
  Fd* fd = fd_.get();
  if (fd == nullptr) return NoConn("writev");
  return ToStatus(fd, "writev", fd->WriteParts(parts, ctx), ctx);
}

absl::Status Conn::CloseWrite() {
  Fd* fd = fd_.get();
  if (fd == nullptr) return NoConn("close write");
  return ToStatus(fd, "close write", fd->ShutdownWrite(), Context::Background());
}

bool Conn::Close() {
  return fd_.get() != nullptr && fd_.get()->Close();
}

void Conn::SetReadDeadline(absl::Time when) {
  if (fd_.get() != nullptr) fd_.get()->SetDeadline(Side::kRead, when);
}

void Conn::SetWriteDeadline(absl::Time when) {
  if (fd_.get() != nullptr) fd_.get()->SetDeadline(Side::kWrite, when);
}

Address Conn::LocalAddr() const {
  return fd_.get() != nullptr ? fd_.get()->identity().local : Address();
}

Address Conn::RemoteAddr() const {
  return fd_.get() != nullptr ? fd_.get()->identity().remote : Address();
}

}  // namespace weft::net
