// The fake kernel's rings; see kernel.h.
#include <cerrno>

#include "runtime/os/epoll.h"
#include "tests/model/kernel_state.h"

namespace weft::model {

namespace {

Ring& RingOf(int fd) {
  for (int i = 0; i < kernel.rings; i++) {
    if (kernel.ring[i].file == FileOf(fd)) return kernel.ring[i];
  }
  Fail("kernel", "descriptor %d is no ring", fd);
}

bool Queue(int fd, const Submission& s) {
  Ring& r = RingOf(fd);
  if (r.submissions == kMostSubmissions) return false;
  r.submission[r.submissions++] = s;
  return true;
}

void Complete(Ring& r, uint64_t data, int result, bool more) {
  if (r.completions == kMostCompletions) OutOf("completions");
  r.completion[r.completions++] = {data, result, more};
  if (engine.trace) Trace("  (ring: %#lx says %d%s)", data, result, more ? "" : ", its last");
}

void Arm(Ring& r, const Submission& s) {
  const int file = FileOf(s.fd);
  if (file == 0) return Complete(r, s.data, -EBADF, false);
  for (Poll& p : r.poll) {
    if (p.armed) continue;
    p = {true, false, file, s.mask, ReadinessOf(file) & (s.mask | kAlways), s.data};
    kernel.file[file].references++;
    return;
  }
  OutOf("polls");
}

void Cancel(Ring& r, const Submission& s) {
  int found = 0;
  for (Poll& p : r.poll) {
    if (!p.armed || p.cancelled || (s.op == Op::kCancel && p.data != s.target)) continue;
    p.cancelled = true;
    found++;
    if (s.op == Op::kCancel) break;  // the first, even if there are several
  }
  const int result = s.op == Op::kCancelAll ? found : found == 0 ? -ENOENT : 0;
  Complete(r, s.data, result, false);
}

bool HasReports(const Ring& r) {
  for (const Poll& p : r.poll) {
    if (p.armed && (p.cancelled || p.pending != 0)) return true;
  }
  return false;
}

void BringReports(Ring& r) {
  int left = kernel.most_reports;
  for (Poll& p : r.poll) {
    if (!p.armed || (!p.cancelled && p.pending == 0) || left == 0) continue;
    left--;
    const bool by_itself = !p.cancelled && kernel.polls_to_end > 0 && Choose(2) == 1;
    if (by_itself) kernel.polls_to_end--;
    const bool ends = p.cancelled || by_itself;
    Complete(r, p.data, p.cancelled ? -ECANCELED : static_cast<int>(p.pending), !ends);
    p.pending = 0;
    p.armed = !ends;
    if (ends) Unrefer(p.file);
  }
}

// What each enter does.
void EnterRing(Ring& r) {
  Use();
  Acquire(kernel.file[r.file].order);
  for (int i = 0; i < r.submissions; i++) {
    const Submission& s = r.submission[i];
    if (s.op == Op::kPoll) {
      Arm(r, s);
    } else {
      Cancel(r, s);
    }
  }
  r.submissions = 0;
  BringReports(r);
}

}  // namespace

void LimitReports(int reports) {
  kernel.most_reports = reports;
}

void EndOnePoll() {
  kernel.polls_to_end = 1;
}

}  // namespace weft::model

namespace weft::os {

using model::Call;
using model::engine;
using model::kernel;

int Uring::Open(unsigned, unsigned) {
  if (kernel.rings == model::kMostRings) model::OutOf("rings");
  fd_ = model::NewFile(model::Type::kRing);
  kernel.ring[kernel.rings++].file = model::FileOf(fd_);
  return 0;
}

void Uring::Close() {
  Call();
  model::Ring& r = model::RingOf(fd_);
  for (model::Poll& p : r.poll) {
    if (p.armed) model::Unrefer(p.file);
    p.armed = false;
  }
  CloseDescriptor(fd_);
}

bool Uring::AddPoll(int fd, uint32_t mask, uint64_t user_data) {
  return model::Queue(fd_, {model::Op::kPoll, fd, mask, user_data, 0});
}

bool Uring::RemovePoll(uint64_t user_data, uint64_t own_data) {
  return model::Queue(fd_, {model::Op::kCancel, model::kNone, 0, own_data, user_data});
}

bool Uring::RemoveAll(uint64_t user_data) {
  return model::Queue(fd_, {model::Op::kCancelAll, model::kNone, 0, user_data, 0});
}

// A look at shared memory: no call, but others' calls go before or after it.
bool Uring::HasWork() const {
  Call();
  const model::Ring& r = model::RingOf(fd_);
  return r.submissions > 0 || r.completions > 0 || model::HasReports(r);
}

int Uring::Enter() {
  Call();
  if (engine.trace) model::Trace("enters ring %d", fd_);
  model::EnterRing(model::RingOf(fd_));
  return 0;
}

int Uring::EnterAndWait(int64_t timeout_ns) {
  Call();
  if (engine.trace) model::Trace("enters ring %d to wait", fd_);
  model::Ring& r = model::RingOf(fd_);
  model::EnterRing(r);
  while (r.completions == 0 && model::SleepOn(model::SleepersOf(r.file), timeout_ns)) {
    model::EnterRing(r);
  }
  return 0;
}

unsigned Uring::Reap(UringEvent* out, unsigned size) {
  model::Use();
  model::Ring& r = model::RingOf(fd_);
  unsigned n = 0;
  while (n < size && static_cast<int>(n) < r.completions) {
    out[n] = r.completion[n];
    n++;
  }
  for (int i = static_cast<int>(n); i < r.completions; i++) {
    r.completion[i - static_cast<int>(n)] = r.completion[i];
  }
  r.completions -= static_cast<int>(n);
  return n;
}

bool IsReady(int fd, uint32_t mask) {
  Call();
  const int file = model::FileOf(fd);
  if (kernel.file[file].type != model::Type::kRing) {
    return (model::ReadinessOf(file) & (mask | model::kAlways)) != 0;
  }
  const model::Ring& r = model::RingOf(fd);
  return r.completions > 0 || model::HasReports(r);
}

}  // namespace weft::os
