// TCP over IPv4 and IPv6.
//
//     absl::StatusOr<weft::net::Listener> listener = weft::net::Listen("tcp", "[::]:7777");
//     absl::StatusOr<weft::net::Conn> conn = listener->Accept(ctx);
//     absl::StatusOr<weft::net::Chunk> chunk = conn->Receive(ctx);
//
// Listener and Conn are counted handles: copies name the same socket, which is closed with the
// last of them or by Close. Their members may be called by any goroutine and by any plain thread
// (which then blocks itself) while a runtime runs, which neither an open socket's handles (fatal)
// nor a plain thread's call that waits must outlive. A handle object itself is no place for two
// goroutines to meet: give each its copy.
//
// Blocking calls take a Context last, the goroutine's own by default, and return when it is done.
//
// Errors name the operation, the network, the addresses and the cause:
//     read tcp 127.0.0.1:7777->127.0.0.1:50412: Connection reset by peer
// Their codes: kCancelled ("use of closed connection") after Close on this side, or when the
// Context was cancelled; kDeadlineExceeded when a deadline passed; kFailedPrecondition on a handle
// without a socket; everything else as absl::ErrnoToStatusCode maps errno (a reset or a refused
// connection: kUnavailable).
//
// `network` is "tcp" (IPv4 and IPv6), "tcp4" or "tcp6". An address is "host:port", "[host]:port"
// when the host has colons; the port is a number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weft/context.h"
#include "weft/io.h"

namespace weft::net {

using io::Chunk;

namespace internal {
class Fd;
void RefFd(Fd* fd);
void UnrefFd(Fd* fd);  // closes the socket with the last reference

// A counted reference to a socket: null, or a share in it.
class FdRef {
 public:
  FdRef() = default;
  explicit FdRef(Fd* fd) : fd_(fd) {}  // takes over the caller's share
  FdRef(const FdRef& other) : fd_(other.fd_) {
    if (fd_ != nullptr) RefFd(fd_);
  }
  FdRef(FdRef&& other) noexcept : fd_(std::exchange(other.fd_, nullptr)) {}
  FdRef& operator=(FdRef other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FdRef() {
    if (fd_ != nullptr) UnrefFd(fd_);
  }
  Fd* get() const { return fd_; }

 private:
  Fd* fd_ = nullptr;
};
}  // namespace internal

// An IP address and port. An IPv4 address that came mapped into IPv6 is the IPv4 address.
class Address {
 public:
  // No address; prints as "".
  Address() = default;

  // Takes "127.0.0.1:80", "[::1]:80", "[fe80::1%2]:80" (the zone is an interface's number or name),
  // ":80" (the IPv6 wildcard). No names are resolved. kInvalidArgument on anything else.
  [[nodiscard]] static absl::StatusOr<Address> Parse(std::string_view text);

  // From the bytes of the IP address in network order, 4 or 16 of them: checked.
  static Address FromBytes(std::span<const uint8_t> ip, uint16_t port, uint32_t zone = 0);

  bool empty() const { return length_ == 0; }
  bool is_ipv4() const { return length_ == 4; }
  bool is_ipv6() const { return length_ == 16; }
  bool is_wildcard() const;
  uint16_t port() const { return port_; }
  uint32_t zone() const { return zone_; }                            // interface number; 0: none
  std::span<const uint8_t> bytes() const { return {ip_, length_}; }  // network order
  std::string ip() const;                                            // "127.0.0.1", "::1"
  std::string ToString() const;                                      // "127.0.0.1:80", "[::1]:80"

  friend bool operator==(const Address& a, const Address& b) = default;

 private:
  uint8_t ip_[16] = {};
  uint32_t zone_ = 0;
  uint16_t port_ = 0;
  uint16_t length_ = 0;  // of ip_: 0, 4 or 16
};

struct DialOptions {
  // For the whole of Dial: name, and all addresses tried.
  absl::Duration timeout = absl::InfiniteDuration();
};

// A TCP connection.
//
// One reader and one writer act at once; further readers wait for the first, first come first
// served, and further writers likewise. TCP_NODELAY is set. SIGPIPE is never raised.
class Conn final : public io::Stream {
 public:
  // No connection: every call fails with kFailedPrecondition.
  Conn() = default;

  // Adopt takes ownership of a connected stream socket and makes it non-blocking. On an error
  // `fd` is as it was and the caller's. kInvalidArgument when it is no stream socket. Duplicates of
  // it stay open when the Conn is closed.
  [[nodiscard]] static absl::StatusOr<Conn> Adopt(int fd);

  // Release gives the descriptor (non-blocking) to the caller; every handle is closed by that.
  // kFailedPrecondition while an operation is under way; kCancelled when it is closed already.
  // The netpoller may hold the file for as long as the thread computes that waited for it last: who
  // closes the descriptor shuts it down before, if the peer shall see the end at once.
  [[nodiscard]] absl::StatusOr<int> Release();

  // See io::Stream for what these have in common.
  //
  // Read and Receive make one system call for each report of readiness: input that is there
  // costs no waiting. A Chunk is 4 KiB and grows, for a connection whose reads fill it, up to
  // 64 KiB.
  [[nodiscard]] absl::StatusOr<size_t> Read(  // NOLINT(google-default-arguments)
      std::span<char> buffer, const Context& ctx = Context::Current()) override;
  [[nodiscard]] absl::StatusOr<Chunk> Receive(  // NOLINT(google-default-arguments)
      const Context& ctx = Context::Current()) override;
  [[nodiscard]] absl::StatusOr<size_t> Write(  // NOLINT(google-default-arguments)
      std::string_view data, const Context& ctx = Context::Current()) override;
  [[nodiscard]] absl::Status WriteAll(  // NOLINT(google-default-arguments)
      std::string_view data, const Context& ctx = Context::Current()) override;
  [[nodiscard]] absl::Status Writev(  // NOLINT(google-default-arguments)
      std::span<const std::string_view> parts, const Context& ctx = Context::Current()) override;

  // CloseWrite sends FIN. It does not wait for a write that is under way.
  [[nodiscard]] absl::Status CloseWrite() override;

  // The descriptor is closed when the last operation under way has left, which Close has woken.
  bool Close() override;

  void SetReadDeadline(absl::Time when) override;
  void SetWriteDeadline(absl::Time when) override;

  // Empty for a handle without a connection, and for a socket that is not of IPv4 or IPv6.
  // They stay after Close.
  Address LocalAddr() const;
  Address RemoteAddr() const;

  explicit operator bool() const { return fd_.get() != nullptr; }
  friend bool operator==(const Conn& a, const Conn& b) { return a.fd_.get() == b.fd_.get(); }

 private:
  friend class Listener;
  friend absl::StatusOr<Conn> Dial(std::string_view network, std::string_view address,
                                   const DialOptions& options, const Context& ctx);
  explicit Conn(internal::FdRef fd) : fd_(std::move(fd)) {}

  internal::FdRef fd_;
};

struct ListenOptions {
  // Connections that the kernel completes and keeps until they are accepted; it cuts this to
  // net.core.somaxconn (4096 on Linux >= 5.4, hence the default).
  int backlog = 4096;
  // SO_REUSEPORT: several listeners share the port, the kernel spreads connections over them.
  bool reuse_port = false;
  // How long Accept goes on trying while descriptors or memory have run out, before it gives up
  // with kResourceExhausted. The connections stay in the backlog either way.
  absl::Duration accept_patience = absl::InfiniteDuration();
};

class Listener {
 public:
  // No listener: every call fails with kFailedPrecondition.
  Listener() = default;

  // Accept waits for the next connection.
  //
  // Any goroutine may call it, several at once: they are served first come first served.
  // While descriptors or memory have run out (EMFILE, ENFILE, ENOBUFS, ENOMEM) it tries again
  // after 5 ms, then after twice as long each time, up to 1 s. Connections that broke before
  // they were accepted are passed over.
  // Errors: kCancelled after Close, or when `ctx` was cancelled; kDeadlineExceeded by `ctx`;
  // kResourceExhausted when descriptors have run out for longer than `accept_patience`;
  // anything else carries accept(2)'s errno.
  [[nodiscard]] absl::StatusOr<Conn> Accept(const Context& ctx = Context::Current());

  // Close stops listening and wakes every Accept. False: it was closed before. Any thread; does
  // not block. Connections that were not accepted are reset by the kernel.
  bool Close();

  // Where it listens; tells the port when port 0 was asked for. Stays after Close.
  Address Addr() const;

  explicit operator bool() const { return fd_.get() != nullptr; }

 private:
  friend absl::StatusOr<Listener> Listen(std::string_view network, std::string_view address,
                                         const ListenOptions& options, const Context& ctx);
  explicit Listener(internal::FdRef fd) : fd_(std::move(fd)) {}

  internal::FdRef fd_;
  absl::Duration accept_patience_;
};

// Listen opens a TCP listener. Port 0: the kernel chooses one, Listener::Addr tells it.
//
// With "tcp", "[::]:port" and ":port" take IPv4 connections as well, and where the machine has no
// IPv6 they listen on IPv4 alone. SO_REUSEADDR is set. It blocks only to resolve a host name (see
// Dial); of several addresses the first that can be bound is taken.
// Errors: kInvalidArgument for an unknown network or a malformed address; kNotFound when the name
// is not known; else bind(2)'s and listen(2)'s errno.
[[nodiscard]] absl::StatusOr<Listener> Listen(std::string_view network, std::string_view address,
                                              const ListenOptions& options = {},
                                              const Context& ctx = Context::Current());

// Dial connects to `address`.
//
// A host name is resolved by getaddrinfo, on another goroutine that is in Blocking meanwhile (it
// ends when getaddrinfo returns, even if the Dial has given up); its addresses are tried in turn,
// and the time left is shared out between those not yet tried, but at least 2 s each. An empty
// host or a wildcard is the loopback of the network ("tcp": IPv6's is tried first, then IPv4's).
// Errors: kInvalidArgument for an unknown network or a malformed address; kNotFound when the name
// is not known; kDeadlineExceeded, kCancelled; else the first address's connect(2) errno.
[[nodiscard]] absl::StatusOr<Conn> Dial(std::string_view network, std::string_view address,
                                        const DialOptions& options = {},
                                        const Context& ctx = Context::Current());

}  // namespace weft::net
