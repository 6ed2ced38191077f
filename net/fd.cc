#include "net/fd.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "runtime/fatal.h"
#include "runtime/os/clock.h"
#include "runtime/os/socket.h"
#include "runtime/sched.h"
#include "runtime/timer.h"

namespace weft::net::internal {

Fd* Fd::New(int fd, netpoll::Kind kind, const FdIdentity& identity, Outcome* outcome) {
  Fd* made = new Fd(fd, identity);
  if (int error = netpoll::Open(fd, kind, &made->desc_, &made->desc_); error < 0) {
    delete made;
    *outcome = error;
    return nullptr;
  }
  return made;
}

void RefFd(Fd* fd) {
  // The caller has a share already; nothing is handed on.
  fd->handles_.FetchAdd(1, os::kRelaxed<"fd.ref">);
}

void UnrefFd(Fd* fd) {
  // The last one sees what the others did through theirs.
  if (fd->handles_.FetchSub(1, os::kAcqRel<"fd.unref">) != 1) return;
  // Operations run through handles: nobody is inside.
  fd->Close();
  delete fd;
}

absl::Status Fd::Error(std::string_view operation, Outcome outcome, const Context& ctx) const {
  return OperationError(operation, identity_.network, identity_.local, identity_.remote, outcome,
                        ctx);
}

// ---- Waiting ----

namespace {
Outcome ToOutcome(netpoll::Result result, int error) {
  switch (result) {
    case netpoll::Result::kReady:
      return 0;
    case netpoll::Result::kTimeout:
      return kTimedOut;
    case netpoll::Result::kClosing:
      return error != 0 ? error : kClosed;
  }
  return kClosed;
}
}  // namespace

Outcome Fd::Check(Side side, const Context& ctx) const {
  if (ctx.IsDone()) [[unlikely]]
    return kContextDone;
  return ToOutcome(netpoll::Check(desc_, ToMode(side)), 0);
}

Outcome Fd::Await(Side side, const Context& ctx) {
  const netpoll::Mode mode = ToMode(side);
  // 1. and 2. of watch.h
  if (!WatchOf(side).Follow(ctx, desc_)) [[unlikely]]
    return kContextDone;
  int error = 0;
  const netpoll::Result result = netpoll::Wait(desc_, mode, &error);  // 3.
  if (ctx.IsDone()) [[unlikely]] {                                    // 4.
    if (result == netpoll::Result::kReady) netpoll::SetReady(desc_, mode);
    return kContextDone;
  }
  return ToOutcome(result, error);
}

// ---- Reading ----

Outcome Fd::Read(std::span<char> buffer, const Context& ctx) {
  Turn turn(this, Side::kRead, ctx);
  if (!turn.entered()) return turn.refusal();
  if (buffer.empty()) return Check(Side::kRead, ctx);
  for (;;) {
    if (Outcome wait = Await(Side::kRead, ctx); wait < 0) [[unlikely]]
      return wait;
    const int64_t n = os::Receive(fd_, buffer.data(), buffer.size());
    if (n == -EAGAIN) continue;
    if (MayHoldMore(n, buffer.size())) SetReady(Side::kRead);
    if (n != -EINTR) return n;
  }
}

Outcome Fd::Receive(Chunk* chunk, const Context& ctx) {
  Turn turn(this, Side::kRead, ctx);
  if (!turn.entered()) return turn.refusal();
  for (;;) {
    if (Outcome wait = Await(Side::kRead, ctx); wait < 0) [[unlikely]]
      return wait;
    Chunk taken = Chunk::WithCapacity(receive_bytes_);
    const int64_t n = os::Receive(fd_, taken.data(), taken.capacity());
    if (n == -EAGAIN) continue;
    if (n <= 0) {
      SetReady(Side::kRead);
      if (n == -EINTR) continue;
      return n;
    }
    taken.set_size(static_cast<size_t>(n));
    if (MayHoldMore(n, taken.capacity())) SetReady(Side::kRead);
    if (taken.size() == taken.capacity()) {
      if (receive_bytes_ < Chunk::kMaxPooled) receive_bytes_ *= 2;
    } else if (taken.size() <= taken.capacity() / 4 && receive_bytes_ > Chunk::kMinPooled) {
      receive_bytes_ /= 2;
    }
    *chunk = std::move(taken);
    return n;
  }
}

// ---- Writing ----

Outcome Fd::Write(std::string_view data, const Context& ctx) {
  Turn turn(this, Side::kWrite, ctx);
  if (!turn.entered()) return turn.refusal();
  if (Outcome check = Check(Side::kWrite, ctx); check < 0 || data.empty()) return check;
  { runtime::Entry poll; }  // as in SendAll
  for (;;) {
    const int64_t n = os::Send(fd_, data.data(), data.size());
    if (n == -EAGAIN) {
      if (Outcome wait = Await(Side::kWrite, ctx); wait < 0) return wait;
    } else if (n != -EINTR) {
      return n;
    }
  }
}

Outcome Fd::WriteAll(std::string_view data, const Context& ctx) {
  Turn turn(this, Side::kWrite, ctx);
  if (!turn.entered()) return turn.refusal();
  if (Outcome check = Check(Side::kWrite, ctx); check < 0) [[unlikely]]
    return check;
  return SendAll(data, ctx);
}

// A send that took less than it was given has filled the socket, which marks it for a report: the
// EAGAIN of another send would say the same.
Outcome Fd::SendAll(std::string_view data, const Context& ctx) {
  { runtime::Entry poll; }  // a writer that never waits must not keep its P for ever
  while (!data.empty()) {
    const int64_t n = os::Send(fd_, data.data(), data.size());
    if (n == -EINTR) continue;
    if (n < 0 && n != -EAGAIN) return n;
    if (n > 0) data.remove_prefix(static_cast<size_t>(n));
    if (data.empty()) break;
    if (Outcome wait = Await(Side::kWrite, ctx); wait < 0) return wait;
  }
  return 0;
}

namespace {
// A place in a list of parts.
struct PartsLeft {
  std::span<const std::string_view> parts;
  size_t skip = 0;  // bytes of the first that are written

  void DropEmpty() {
    while (!parts.empty() && skip == parts.front().size()) {
      parts = parts.subspan(1);
      skip = 0;
    }
  }
  void Advance(size_t bytes) {
    DropEmpty();
    while (bytes > 0) {
      const size_t step = std::min(bytes, parts.front().size() - skip);
      skip += step;
      bytes -= step;
      DropEmpty();
    }
  }
};

constexpr size_t kPartsAtOnce = 64;  // chosen: 1 KiB of stack; sendmsg's cost is in the bytes

size_t Gather(const PartsLeft& left, os::IoPart (&out)[kPartsAtOnce]) {
  size_t count = 0;
  size_t skip = left.skip;
  for (std::string_view part : left.parts) {
    if (count == kPartsAtOnce) break;
    part.remove_prefix(skip);
    skip = 0;
    if (!part.empty()) out[count++] = {part.data(), part.size()};
  }
  return count;
}
}  // namespace

Outcome Fd::WriteParts(std::span<const std::string_view> parts, const Context& ctx) {
  Turn turn(this, Side::kWrite, ctx);
  if (!turn.entered()) return turn.refusal();
  if (Outcome check = Check(Side::kWrite, ctx); check < 0) return check;
  { runtime::Entry poll; }  // as in SendAll
  PartsLeft left{parts};
  for (left.DropEmpty(); !left.parts.empty();) {
    os::IoPart gathered[kPartsAtOnce];
    const size_t count = Gather(left, gathered);
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) bytes += gathered[i].size;
    const int64_t n = os::SendParts(fd_, gathered, count);
    if (n == -EINTR) continue;
    if (n < 0 && n != -EAGAIN) return n;
    if (n > 0) left.Advance(static_cast<size_t>(n));
    if (n == static_cast<int64_t>(bytes)) continue;
    if (Outcome wait = Await(Side::kWrite, ctx); wait < 0) return wait;
  }
  return 0;
}

// ---- The rest ----

Outcome Fd::ShutdownWrite() {
  { runtime::Entry poll; }
  if (!mutex_.Reference()) return kClosed;
  const Outcome outcome = os::ShutdownWrite(fd_);
  if (mutex_.Unreference()) Free();
  return outcome;
}

bool Fd::Close() {
  if (!mutex_.Close()) return false;
  if (runtime::RuntimeSerial() != runtime_) {
    runtime::Fatal("a net::Conn or net::Listener outlived its runtime");
  }
  netpoll::Evict(desc_);
  if (mutex_.Unreference()) Free();
  return true;
}

Outcome Fd::Release() {
  if (!mutex_.CloseIfIdle()) return mutex_.closed() ? kClosed : -EBUSY;
  netpoll::Evict(desc_);
  netpoll::Close(Detach(), /*descriptor_lives_on=*/true);
  return fd_;
}

// Nobody is inside and nobody can enter.
netpoll::Desc* Fd::Detach() {
  read_watch_.Drop();
  write_watch_.Drop();
  return std::exchange(desc_, nullptr);
}

void Fd::Free() {
  netpoll::Close(Detach());
  os::CloseFd(fd_);
}

namespace {
int64_t ToNanotime(absl::Time when) {
  if (when == absl::InfiniteFuture()) return 0;
  const int64_t left = absl::ToInt64Nanoseconds(when - absl::FromUnixNanos(os::UnixNanos()));
  if (left <= 0) return 1;  // long past
  const int64_t now = runtime::Nanotime();
  return left > INT64_MAX - now ? 0 : now + left;
}
}  // namespace

void Fd::SetDeadline(Side side, absl::Time when) {
  { runtime::Entry poll; }
  if (!mutex_.Reference()) return;
  netpoll::SetDeadline(desc_, ToMode(side), ToNanotime(when));
  // The next operation looks once before it waits: what has arrived counts, however late the
  // netpoller is to report it.
  netpoll::SetReady(desc_, ToMode(side));
  if (mutex_.Unreference()) Free();
}

}  // namespace weft::net::internal
