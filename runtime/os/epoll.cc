#include "runtime/os/epoll.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/os/fault.h"
#include "weft/internal/atomic.h"

namespace weft::os {

static_assert(kPollIn == EPOLLIN && kPollOut == EPOLLOUT && kPollError == EPOLLERR &&
              kPollHangUp == EPOLLHUP && kPollReadHangUp == EPOLLRDHUP);

namespace {

constexpr int kBatch = 256;

// epoll_pwait2 takes nanoseconds; before kernel 5.11 a timer would be up to 1 ms late.
int WaitFor(int fd, epoll_event* events, int size, int64_t timeout_ns) {
  static Atomic<bool> has_pwait2{true};
  // Only changes once; a late reader tries once more.
  if (timeout_ns > 0 && has_pwait2.Load(kRelaxed<"epoll.pwait2">)) {
    timespec timeout = {.tv_sec = timeout_ns / 1'000'000'000,
                        .tv_nsec = timeout_ns % 1'000'000'000};
    int n = static_cast<int>(syscall(SYS_epoll_pwait2, fd, events, size, &timeout, nullptr, 0));
    if (n >= 0 || errno != ENOSYS) return n;
    has_pwait2.Store(false, kRelaxed<"epoll.pwait2.missing">);  // as above
  }
  int64_t ms = timeout_ns <= 0 ? timeout_ns : (timeout_ns + 999'999) / 1'000'000;
  if (ms > 1'000'000'000) ms = 1'000'000'000;
  return epoll_wait(fd, events, size, static_cast<int>(ms));
}

}  // namespace

int Epoll::Open() {
  fd_ = epoll_create1(EPOLL_CLOEXEC);
  return fd_ < 0 ? -errno : 0;
}

void Epoll::Close() {
  close(fd_);
  fd_ = -1;
}

int Epoll::Add(int fd, uint32_t mask, uint64_t user_data) {
  return AddLevel(fd, mask | EPOLLET, user_data);
}

int Epoll::AddLevel(int fd, uint32_t mask, uint64_t user_data) {
  if (int error = InjectedFault(FaultPoint::kEpollAdd); error != 0) return -error;
  epoll_event event = {};
  event.events = mask;
  event.data.u64 = user_data;
  return epoll_ctl(fd_, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

void Epoll::Remove(int fd) {
  epoll_event unused = {};
  epoll_ctl(fd_, EPOLL_CTL_DEL, fd, &unused);
}

int Epoll::Wait(EpollEvent* out, int size, int64_t timeout_ns) {
  epoll_event events[kBatch];
  int n = WaitFor(fd_, events, size < kBatch ? size : kBatch, timeout_ns < 0 ? -1 : timeout_ns);
  for (int i = 0; i < n; i++) out[i] = {events[i].data.u64, events[i].events};
  return n < 0 ? 0 : n;
}

int OpenEvent() {
  int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

void SignalEvent(int fd) {
  uint64_t one = 1;
  (void)!write(fd, &one, sizeof(one));
}

void DrainEvent(int fd) {
  uint64_t count;
  (void)!read(fd, &count, sizeof(count));
}

bool IsReady(int fd, uint32_t mask) {
  pollfd p = {.fd = fd, .events = static_cast<int16_t>(mask), .revents = 0};
  return poll(&p, 1, 0) == 1;
}

void CloseDescriptor(int fd) {
  close(fd);
}
void ShutdownSocket(int fd) {
  shutdown(fd, SHUT_RDWR);
}

}  // namespace weft::os
