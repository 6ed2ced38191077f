// The seam's sockets and files: thin names for kernel calls. Each returns >= 0, or -errno.
// None of them blocks but Resolve, and those on regular files.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::os {

// An IP address and port. `length` bytes of `ip` count: 4, 16, or 0 for "not an IP address".
// The kernel's IPv4-mapped IPv6 addresses come out as IPv4.
struct Endpoint {
  uint8_t ip[16] = {};
  uint32_t zone = 0;
  uint16_t port = 0;
  uint16_t length = 0;
};

// An address in figures, without zone or port. False: it is none.
bool ParseIp(const char* text, Endpoint* out);
inline constexpr size_t kIpTextBytes = 46;
void FormatIp(const Endpoint& endpoint, char (&out)[kIpTextBytes]);

enum class Family : uint8_t { kIpv4, kIpv6 };

// A non-blocking, close-on-exec TCP socket.
int TcpSocket(Family family);
// On a socket of Family::kIpv6 an IPv4 endpoint is passed in its mapped form.
int Bind(int fd, Family family, const Endpoint& local);
int Listen(int fd, int backlog);
// Starts or asks for a connection: 0 when it stands, -EINPROGRESS or -EALREADY while it is made.
int Connect(int fd, Family family, const Endpoint& remote);
// A non-blocking, close-on-exec descriptor; it has its listener's TCP_NODELAY.
int Accept(int fd, Endpoint* remote);

int LocalEndpoint(int fd, Endpoint* out);
int RemoteEndpoint(int fd, Endpoint* out);

enum class SocketOption : uint8_t { kNoDelay, kReuseAddress, kReusePort, kIpv6Only };
int SetSocketOption(int fd, SocketOption option, bool on);
int IsStreamSocket(int fd);  // 1 or 0
bool IsTcpSocket(int fd);
int ShutdownWrite(int fd);
int SetNonBlocking(int fd);
int CloseFd(int fd);

// One piece of input or output; laid out as the kernel's iovec.
struct IoPart {
  const void* data;
  size_t size;
};
inline constexpr size_t kMaxIoParts = 1024;  // IOV_MAX

// The hot path. Never raises SIGPIPE.
int64_t Receive(int fd, void* data, size_t size);
int64_t Send(int fd, const void* data, size_t size);
int64_t SendParts(int fd, const IoPart* parts, size_t count);

// The addresses of a host by getaddrinfo, which blocks the thread; ports are 0. How many were
// written to `out`, or -errno; -ENOENT: no such name; -EAGAIN: the name servers failed.
int Resolve(const char* host, bool ipv4, bool ipv6, Endpoint* out, int max);
// The number of a network interface, or 0.
uint32_t InterfaceNumber(const char* name);

struct OpenFlags {
  bool read, write, create, exclusive, truncate;
};
int ToKernelFlags(const OpenFlags& flags);
int OpenFile(const char* path, int kernel_flags, uint32_t mode);
int64_t ReadFileAt(int fd, void* data, size_t size, uint64_t offset);
int64_t WriteFileAt(int fd, const void* data, size_t size, uint64_t offset);
int SyncFile(int fd);

// The text of an errno: never null, constant.
const char* ErrorText(int error);

}  // namespace weft::os
