// A ring as the explorer's kernel has it (kernel.cc). Found by its include path, in place of the
// header of the same name, which says what the calls mean.
#pragma once

#include <cstdint>

namespace weft::os {

struct UringEvent {
  uint64_t user_data;
  int result;
  bool more;
};

class Uring {
 public:
  int Open(unsigned submissions, unsigned completions);
  void Close();
  int fd() const { return fd_; }

  bool AddPoll(int fd, uint32_t mask, uint64_t user_data);
  bool RemovePoll(uint64_t user_data, uint64_t own_data);
  bool RemoveAll(uint64_t user_data);

  bool HasWork() const;
  int Enter();
  int EnterAndWait(int64_t timeout_ns);
  unsigned Reap(UringEvent* out, unsigned size);
  void ActivatePolling() {}

 private:
  int fd_ = -1;
};

}  // namespace weft::os
