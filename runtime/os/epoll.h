// An epoll set, edge-triggered, and the eventfd that wakes its sleeper.
#pragma once

#include <cstdint>

namespace weft::os {

inline constexpr uint32_t kPollIn = 0x001;
inline constexpr uint32_t kPollOut = 0x004;
inline constexpr uint32_t kPollError = 0x008;
inline constexpr uint32_t kPollHangUp = 0x010;
inline constexpr uint32_t kPollReadHangUp = 0x2000;

struct EpollEvent {
  uint64_t user_data;
  uint32_t mask;
};

class Epoll {
 public:
  int Open();  // 0 or -errno
  void Close();
  int fd() const { return fd_; }

  // Reports changes (edges). 0 or -errno.
  int Add(int fd, uint32_t mask, uint64_t user_data);
  // Reports for as long as it is so (level).
  int AddLevel(int fd, uint32_t mask, uint64_t user_data);
  void Remove(int fd);
  // Up to `size` events; sleeps at most `timeout_ns` (< 0: for ever). A signal ends it early.
  int Wait(EpollEvent* out, int size, int64_t timeout_ns);

 private:
  int fd_ = -1;
};

// An eventfd, non-blocking: descriptor or -errno.
int OpenEvent();
void SignalEvent(int fd);
void DrainEvent(int fd);

// Whether a descriptor is ready now, for one of `mask`, or broken. Any thread.
bool IsReady(int fd, uint32_t mask);

void CloseDescriptor(int fd);
// Ends both directions at once, whoever else refers to the socket.
void ShutdownSocket(int fd);

}  // namespace weft::os
