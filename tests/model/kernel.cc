#include "tests/model/kernel.h"

#include <cerrno>

#include "runtime/os/epoll.h"
#include "runtime/os/uring.h"
#include "tests/model/engine.h"

namespace weft::model {

namespace {

constexpr int kMostFiles = 12;
constexpr int kMostEntries = 8;
constexpr int kMostSubmissions = 8;
constexpr int kMostPolls = 8;
constexpr int kMostCompletions = 24;
constexpr int kMostRings = 2;
constexpr int kNone = -1;
// Reported whether it was asked for or not.
constexpr uint32_t kAlways = os::kPollError | os::kPollHangUp;

// What happened before some calls, for those that learn of them.
struct Order {
  View view;
  int vectors;
};

enum class Type : uint8_t { kFree, kSocket, kEvent, kEpoll, kRing };

struct File {
  Type type;
  int references;  // descriptors and rings' polls
  uint32_t ready;
  Order order;
};

struct Entry {  // of the epoll set
  bool used, level, ready;
  int fd, file;
  uint32_t mask;
  uint64_t data;
};

struct Poll {
  bool armed, cancelled;
  int file;
  uint32_t mask, pending;
  uint64_t data;
};

enum class Op : uint8_t { kPoll, kCancel, kCancelAll };
struct Submission {
  Op op;
  int fd;
  uint32_t mask;
  uint64_t data, target;
};

struct Ring {
  int file;
  int submissions, completions;
  Submission submission[kMostSubmissions];
  os::UringEvent completion[kMostCompletions];
  Poll poll[kMostPolls];
};

// Trivial, so that it is put back by a copy.
struct Kernel {
  int files, rings, most_reports, polls_to_end;
  int descriptor[kMostFiles];  // its file
  File file[kMostFiles];
  int epoll;  // its file
  Entry entry[kMostEntries];
  Ring ring[kMostRings];
};
constexpr Kernel MakeKernel() {
  Kernel k = {};
  k.files = 1;  // 0 is none
  k.most_reports = kMostPolls;
  return k;
}
constinit Kernel kernel = MakeKernel();  // before the worlds of static initialization
constinit Kernel kept = {};

// Where threads sleep in the kernel: on a file.
os::Atomic<uint32_t> sleepers[kMostFiles];
Site sleep_site{"kernel", MemoryOrder::kRelaxed};

int SleepersOf(int file) {
  return LaneOf(sleepers[file].Here(sleep_site));
}

// All that the kernel holds is the threads' in common: whoever uses it comes after who did before.
void Use() {
  if (InRun()) MixShared(&engine.kernel_hash);
}

// A system call begins.
void Call() {
  Point();
  Use();
}

void Release(Order& o) {
  if (!InRun()) return;
  Thread& t = *engine.running;
  for (int i = o.vectors; i < engine.vectors; i++) o.view.vector[i] = Vector{};
  o.vectors = engine.vectors;
  JoinView(&o.view, t.now, o.vectors);
  t.now.Clock(t.id)++;
}

void Acquire(const Order& o) {
  if (!InRun()) return;
  Thread& t = *engine.running;
  JoinView(&t.now, o.view, o.vectors);
  JoinView(&t.acquired, o.view, o.vectors);
}

[[noreturn]] void OutOf(const char* what) {
  Fail("limit", "the kernel has no more %s", what);
}

// ---- Files ----

int NewFile(Type type) {
  if (kernel.files == kMostFiles) OutOf("files");
  const int file = kernel.files++;
  kernel.file[file].type = type;
  kernel.file[file].references = 1;
  for (int fd = 3; fd < kMostFiles; fd++) {
    if (kernel.descriptor[fd] != 0) continue;
    kernel.descriptor[fd] = file;
    return fd;
  }
  OutOf("descriptors");
}

// File 0 is none.
int FileOf(int fd) {
  return fd < 0 ? 0 : kernel.descriptor[fd];
}

Ring& RingOf(int fd) {
  for (int i = 0; i < kernel.rings; i++) {
    if (kernel.ring[i].file == FileOf(fd)) return kernel.ring[i];
  }
  Fail("kernel", "descriptor %d is no ring", fd);
}

void Unrefer(int file) {
  File& f = kernel.file[file];
  if (--f.references > 0) return;
  if (engine.trace) Trace("  (file %d is released)", file);
  f.type = Type::kFree;
  for (Entry& e : kernel.entry) e.used = e.used && e.file != file;
  Release(f.order);
  if (InRun()) WakeOn(SleepersOf(file), kMostThreads);
}

void WakeSleeper(int file) {
  Release(kernel.file[file].order);
  if (InRun()) WakeOn(SleepersOf(file), 1);
}

// Something has happened to a file: who watches it learns of it.
void Notify(int file, uint32_t mask) {
  for (int i = 0; i < kernel.rings; i++) {
    Ring& r = kernel.ring[i];
    bool wakes = false;
    for (Poll& p : r.poll) {
      const uint32_t told = mask & (p.mask | kAlways);
      if (!p.armed || p.file != file || told == 0) continue;
      p.pending |= told;
      wakes = true;
    }
    if (wakes) WakeSleeper(r.file);
  }
  if (file == kernel.epoll) return;  // sets are not nested
  bool wakes = false;
  for (Entry& e : kernel.entry) {
    if (!e.used || e.file != file || (mask & (e.mask | kAlways)) == 0) continue;
    e.ready = wakes = true;
  }
  if (!wakes) return;
  WakeSleeper(kernel.epoll);
  Notify(kernel.epoll, os::kPollIn);
}

void MakeReady(int file, uint32_t mask) {
  Release(kernel.file[file].order);
  kernel.file[file].ready |= mask;
  Notify(file, mask);
}

// Who is told of a file's state comes after who made it so.
uint32_t ReadinessOf(int file) {
  Acquire(kernel.file[file].order);
  if (file != kernel.epoll) return kernel.file[file].ready;
  for (const Entry& e : kernel.entry) {
    if (e.used && e.ready) return os::kPollIn;
  }
  return 0;
}

// ---- The epoll set ----

int AddEntry(int fd, uint32_t mask, uint64_t data, bool level) {
  Call();
  const int file = FileOf(fd);
  if (engine.trace) Trace("epoll: add descriptor %d, file %d", fd, file);
  if (file == 0) return -EBADF;
  Entry* place = nullptr;
  for (Entry& e : kernel.entry) {
    if (e.used && e.file == file && e.fd == fd) return -EEXIST;
    if (!e.used) place = &e;
  }
  if (place == nullptr) OutOf("entries");
  const bool ready = (ReadinessOf(file) & (mask | kAlways)) != 0;
  *place = {true, level, ready, fd, file, mask, data};
  Release(kernel.file[kernel.epoll].order);
  if (ready) {
    WakeSleeper(kernel.epoll);
    Notify(kernel.epoll, os::kPollIn);
  }
  return 0;
}

int TakeEntries(os::EpollEvent* out, int size) {
  int n = 0;
  for (Entry& e : kernel.entry) {
    if (!e.used || !e.ready || n == size) continue;
    const uint32_t mask = ReadinessOf(e.file) & (e.mask | kAlways);
    e.ready = e.level && mask != 0;
    if (mask != 0) out[n++] = {e.data, mask};
  }
  return n;
}

// ---- Rings ----

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

// ---- For harnesses ----

Socket OpenSocket() {
  Call();
  const int fd = NewFile(Type::kSocket);
  kernel.file[FileOf(fd)].ready = os::kPollOut;
  if (engine.trace) Trace("opens descriptor %d, file %d", fd, FileOf(fd));
  return {fd, FileOf(fd)};
}

void Send(int file) {
  Call();
  if (engine.trace) Trace("sends to file %d", file);
  if (kernel.file[file].type != Type::kSocket) return;
  Acquire(kernel.file[file].order);
  MakeReady(file, os::kPollIn);
}

bool Receive(int fd) {
  Call();
  File& f = kernel.file[FileOf(fd)];
  if (f.type != Type::kSocket) Fail("kernel", "descriptor %d is no socket", fd);
  const bool came = (f.ready & os::kPollIn) != 0;
  if (engine.trace) Trace("receives from descriptor %d: %s", fd, came ? "data" : "nothing");
  f.ready &= ~os::kPollIn;
  Acquire(f.order);
  Release(f.order);  // in vain: before what comes next, and its report
  return came;
}

int References(int file) {
  Use();
  return kernel.file[file].references;
}

bool IsOver(int file) {
  return References(file) == 0 || (kernel.file[file].ready & os::kPollHangUp) != 0;
}

void AwaitRelease(int file) {
  Call();
  while (References(file) > 0) {
    SleepOn(SleepersOf(file), -1);
    Use();
  }
  Acquire(kernel.file[file].order);
}

void LimitReports(int reports) {
  kernel.most_reports = reports;
}

void EndOnePoll() {
  kernel.polls_to_end = 1;
}

void KeepKernel() {
  kept = kernel;
}

void RestoreKernel() {
  kernel = kept;
}

}  // namespace weft::model

namespace weft::os {

using model::Call;
using model::engine;
using model::kernel;

int Epoll::Open() {
  fd_ = model::NewFile(model::Type::kEpoll);
  kernel.epoll = model::FileOf(fd_);
  return 0;
}

void Epoll::Close() {
  CloseDescriptor(fd_);
}

int Epoll::Add(int fd, uint32_t mask, uint64_t user_data) {
  return model::AddEntry(fd, mask, user_data, false);
}

int Epoll::AddLevel(int fd, uint32_t mask, uint64_t user_data) {
  return model::AddEntry(fd, mask, user_data, true);
}

void Epoll::Remove(int fd) {
  Call();
  if (engine.trace) model::Trace("epoll: remove descriptor %d", fd);
  for (model::Entry& e : kernel.entry) {
    e.used = e.used && (e.fd != fd || e.file != model::FileOf(fd));
  }
}

int Epoll::Wait(EpollEvent* out, int size, int64_t timeout_ns) {
  Call();
  for (;; model::Use()) {
    model::Acquire(kernel.file[kernel.epoll].order);
    const int n = model::TakeEntries(out, size);
    if (engine.trace) model::Trace("epoll: %d events", n);
    if (n > 0 || timeout_ns == 0) return n;
    if (!model::SleepOn(model::SleepersOf(kernel.epoll), timeout_ns)) return 0;
  }
}

int OpenEvent() {
  return model::NewFile(model::Type::kEvent);
}

void SignalEvent(int fd) {
  Call();
  if (engine.trace) model::Trace("signals eventfd %d", fd);
  model::MakeReady(model::FileOf(fd), kPollIn);
}

void DrainEvent(int fd) {
  Call();
  kernel.file[model::FileOf(fd)].ready = 0;
}

void CloseDescriptor(int fd) {
  Call();
  const int file = model::FileOf(fd);
  if (engine.trace) model::Trace("closes descriptor %d, file %d", fd, file);
  if (file == 0) model::Fail("kernel", "descriptor %d is closed twice", fd);
  kernel.descriptor[fd] = 0;
  model::Unrefer(file);
}

void ShutdownSocket(int fd) {
  Call();
  if (engine.trace) model::Trace("shuts descriptor %d down", fd);
  model::MakeReady(model::FileOf(fd), kPollIn | kPollOut | kPollReadHangUp | kPollHangUp);
}

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

bool RingIsReadable(int ring_fd) {
  Call();
  const model::Ring& r = model::RingOf(ring_fd);
  return r.completions > 0 || model::HasReports(r);
}

}  // namespace weft::os
