#include "runtime/os/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "arch/arch.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WEFT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define WEFT_SANITIZED 1
#endif
#endif

namespace weft::os {

namespace {

int64_t OrErrno(int64_t result) {
  return result < 0 ? -errno : result;
}
int OrErrno(int result) {
  return result < 0 ? -errno : result;
}

socklen_t ToKernel(Family family, const Endpoint& from, sockaddr_storage* to) {
  *to = {};
  if (family == Family::kIpv4) {
    sockaddr_in* v4 = reinterpret_cast<sockaddr_in*>(to);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(from.port);
    memcpy(&v4->sin_addr, from.ip, sizeof(v4->sin_addr));
    return sizeof(*v4);
  }
  sockaddr_in6* v6 = reinterpret_cast<sockaddr_in6*>(to);
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(from.port);
  v6->sin6_scope_id = from.zone;
  if (from.length == 4) {
    v6->sin6_addr.s6_addr[10] = 0xff;
    v6->sin6_addr.s6_addr[11] = 0xff;
    memcpy(v6->sin6_addr.s6_addr + 12, from.ip, 4);
  } else {
    memcpy(v6->sin6_addr.s6_addr, from.ip, sizeof(v6->sin6_addr));
  }
  return sizeof(*v6);
}

Endpoint FromKernel(const sockaddr_storage& from) {
  Endpoint to;
  if (from.ss_family == AF_INET) {
    const sockaddr_in& v4 = reinterpret_cast<const sockaddr_in&>(from);
    to.length = 4;
    to.port = ntohs(v4.sin_port);
    memcpy(to.ip, &v4.sin_addr, 4);
  } else if (from.ss_family == AF_INET6) {
    const sockaddr_in6& v6 = reinterpret_cast<const sockaddr_in6&>(from);
    to.port = ntohs(v6.sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      to.length = 4;
      memcpy(to.ip, v6.sin6_addr.s6_addr + 12, 4);
    } else {
      to.length = 16;
      to.zone = v6.sin6_scope_id;
      memcpy(to.ip, v6.sin6_addr.s6_addr, 16);
    }
  }
  return to;
}

}  // namespace

bool ParseIp(const char* text, Endpoint* out) {
  if (inet_pton(AF_INET, text, out->ip) == 1) {
    out->length = 4;
  } else if (inet_pton(AF_INET6, text, out->ip) == 1) {
    out->length = 16;
  } else {
    return false;
  }
  return true;
}

static_assert(kIpTextBytes == INET6_ADDRSTRLEN);

void FormatIp(const Endpoint& endpoint, char (&out)[kIpTextBytes]) {
  inet_ntop(endpoint.length == 4 ? AF_INET : AF_INET6, endpoint.ip, out, sizeof(out));
}

int TcpSocket(Family family) {
  return OrErrno(socket(family == Family::kIpv4 ? AF_INET : AF_INET6,
                        SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
}

int Bind(int fd, Family family, const Endpoint& local) {
  sockaddr_storage address;
  socklen_t length = ToKernel(family, local, &address);
  return OrErrno(bind(fd, reinterpret_cast<const sockaddr*>(&address), length));
}

int Listen(int fd, int backlog) {
  return OrErrno(listen(fd, backlog));
}

int Connect(int fd, Family family, const Endpoint& remote) {
  sockaddr_storage address;
  socklen_t length = ToKernel(family, remote, &address);
  return OrErrno(connect(fd, reinterpret_cast<const sockaddr*>(&address), length));
}

int Accept(int fd, Endpoint* remote) {
  sockaddr_storage address;
  socklen_t length = sizeof(address);
  int accepted =
      accept4(fd, reinterpret_cast<sockaddr*>(&address), &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (accepted < 0) return -errno;
  *remote = FromKernel(address);
  return accepted;
}

int LocalEndpoint(int fd, Endpoint* out) {
  sockaddr_storage address;
  socklen_t length = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) < 0) return -errno;
  *out = FromKernel(address);
  return 0;
}

int RemoteEndpoint(int fd, Endpoint* out) {
  sockaddr_storage address;
  socklen_t length = sizeof(address);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) < 0) return -errno;
  *out = FromKernel(address);
  return 0;
}

int SetSocketOption(int fd, SocketOption option, bool on) {
  int level = SOL_SOCKET;
  int name = 0;
  switch (option) {
    case SocketOption::kNoDelay:
      level = IPPROTO_TCP;
      name = TCP_NODELAY;
      break;
    case SocketOption::kReuseAddress:
      name = SO_REUSEADDR;
      break;
    case SocketOption::kReusePort:
      name = SO_REUSEPORT;
      break;
    case SocketOption::kIpv6Only:
      level = IPPROTO_IPV6;
      name = IPV6_V6ONLY;
      break;
  }
  int value = on ? 1 : 0;
  return OrErrno(setsockopt(fd, level, name, &value, sizeof(value)));
}

int IsStreamSocket(int fd) {
  int type = 0;
  socklen_t length = sizeof(type);
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0) return -errno;
  return type == SOCK_STREAM ? 1 : 0;
}

bool IsTcpSocket(int fd) {
  int protocol = 0;
  socklen_t length = sizeof(protocol);
  if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) < 0) return false;
  return protocol == IPPROTO_TCP;
}

int ShutdownWrite(int fd) {
  return OrErrno(shutdown(fd, SHUT_WR));
}

int SetNonBlocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  return OrErrno(fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

// close(2) is not retried: Linux has freed the number whatever it returns.
int CloseFd(int fd) {
  return OrErrno(close(fd));
}

static_assert(sizeof(IoPart) == sizeof(iovec));
static_assert(offsetof(IoPart, data) == offsetof(iovec, iov_base));
static_assert(offsetof(IoPart, size) == offsetof(iovec, iov_len));

// The instruction itself: libc's functions are cancellation points and write errno. Sanitizers
// must see libc's calls. recv and send cost the kernel less than read and write (no file
// position, no fsnotify).
#ifdef WEFT_SANITIZED
int64_t Receive(int fd, void* data, size_t size) {
  return OrErrno(int64_t{recv(fd, data, size, 0)});
}

int64_t Send(int fd, const void* data, size_t size) {
  return OrErrno(int64_t{send(fd, data, size, MSG_NOSIGNAL)});
}

int64_t SendParts(int fd, const IoPart* parts, size_t count) {
  msghdr message{};
  message.msg_iov = reinterpret_cast<iovec*>(const_cast<IoPart*>(parts));
  message.msg_iovlen = count;
  return OrErrno(int64_t{sendmsg(fd, &message, MSG_NOSIGNAL)});
}
#else
int64_t Receive(int fd, void* data, size_t size) {
  return arch::Syscall(SYS_recvfrom, fd, reinterpret_cast<int64_t>(data),
                       static_cast<int64_t>(size));
}

int64_t Send(int fd, const void* data, size_t size) {
  return arch::Syscall(SYS_sendto, fd, reinterpret_cast<int64_t>(data), static_cast<int64_t>(size),
                       MSG_NOSIGNAL);
}

int64_t SendParts(int fd, const IoPart* parts, size_t count) {
  msghdr message{};
  message.msg_iov = reinterpret_cast<iovec*>(const_cast<IoPart*>(parts));
  message.msg_iovlen = count;
  return arch::Syscall(SYS_sendmsg, fd, reinterpret_cast<int64_t>(&message), MSG_NOSIGNAL);
}
#endif

int Resolve(const char* host, bool ipv4, bool ipv6, Endpoint* out, int max) {
  addrinfo hints{};
  hints.ai_family = ipv4 && ipv6 ? AF_UNSPEC : ipv4 ? AF_INET : AF_INET6;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  int error = getaddrinfo(host, nullptr, &hints, &list);
  switch (error) {
    case 0:
      break;
    case EAI_SYSTEM:
      return errno != 0 ? -errno : -EIO;
    case EAI_MEMORY:
      return -ENOMEM;
    case EAI_AGAIN:
      return -EAGAIN;
    default:
      return -ENOENT;
  }
  int count = 0;
  for (const addrinfo* i = list; i != nullptr && count < max; i = i->ai_next) {
    sockaddr_storage address{};
    memcpy(&address, i->ai_addr, i->ai_addrlen);
    Endpoint endpoint = FromKernel(address);
    if (endpoint.length != 0) out[count++] = endpoint;
  }
  freeaddrinfo(list);
  return count == 0 ? -ENOENT : count;
}

uint32_t InterfaceNumber(const char* name) {
  return if_nametoindex(name);
}

int ToKernelFlags(const OpenFlags& flags) {
  int kernel = O_CLOEXEC;
  kernel |= flags.write ? (flags.read ? O_RDWR : O_WRONLY) : O_RDONLY;
  if (flags.create) kernel |= O_CREAT;
  if (flags.exclusive) kernel |= O_EXCL;
  if (flags.truncate) kernel |= O_TRUNC;
  return kernel;
}

int OpenFile(const char* path, int kernel_flags, uint32_t mode) {
  return OrErrno(open(path, kernel_flags, mode));
}

int64_t ReadFileAt(int fd, void* data, size_t size, uint64_t offset) {
  return OrErrno(int64_t{pread(fd, data, size, static_cast<off_t>(offset))});
}

int64_t WriteFileAt(int fd, const void* data, size_t size, uint64_t offset) {
  return OrErrno(int64_t{pwrite(fd, data, size, static_cast<off_t>(offset))});
}

int SyncFile(int fd) {
  return OrErrno(fsync(fd));
}

const char* ErrorText(int error) {
  const char* text = strerrordesc_np(error);
  return text != nullptr ? text : "unknown error";
}

}  // namespace weft::os
