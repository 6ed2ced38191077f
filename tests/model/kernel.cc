// The fake kernel's files and epoll set; see kernel.h.
#include <cerrno>

#include "runtime/os/epoll.h"
#include "tests/model/kernel_state.h"
#include "tests/model/views.h"

namespace weft::model {

namespace {
constexpr Kernel MakeKernel() {
  Kernel k = {};
  k.files = 1;  // 0 is none
  k.most_reports = kMostPolls;
  return k;
}
constinit Kernel kept = {};

os::Atomic<uint32_t> sleepers[kMostFiles];
Site sleep_site{"kernel", MemoryOrder::kRelaxed};
}  // namespace

constinit Kernel kernel = MakeKernel();  // before the worlds of static initialization

int SleepersOf(int file) {
  return LaneOf(sleepers[file].Here(sleep_site));
}

void Use() {
  if (InRun()) MixShared(&engine.kernel_hash);
}

void Call() {
  Point();
  Use();
}

void Release(Order& o) {
  if (!InRun()) return;
  Thread& t = *engine.running;
  for (int i = o.vectors; i < engine.vectors; i++) o.view.vector[i] = Vector{};
  o.vectors = engine.vectors;
  Join(&o.view, t.now, o.vectors);
  t.now.Clock(t.id)++;
}

void Acquire(const Order& o) {
  if (!InRun()) return;
  Thread& t = *engine.running;
  Join(&t.now, o.view, o.vectors);
  Join(&t.unfenced, o.view, o.vectors);
}

void OutOf(const char* what) {
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

int FileOf(int fd) {
  return fd < 0 ? 0 : kernel.descriptor[fd];
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

namespace {

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

}  // namespace

uint32_t ReadinessOf(int file) {
  Acquire(kernel.file[file].order);
  if (file != kernel.epoll) return kernel.file[file].ready;
  for (const Entry& e : kernel.entry) {
    if (e.used && e.ready) return os::kPollIn;
  }
  return 0;
}

namespace {

// ---- The epoll set ----

int AddEntry(int fd, uint32_t mask, uint64_t data, bool level) {
  Call();
  const int file = FileOf(fd);
  if (engine.trace) Trace("epoll: add descriptor %d, file %d", fd, file);
  if (file == 0) return -EBADF;
  if (kernel.entries_to_refuse > 0 && Choose(2) == 1) {
    kernel.entries_to_refuse--;
    return -ENOSPC;
  }
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

void RefuseOneEntry() {
  Use();
  kernel.entries_to_refuse = 1;
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

}  // namespace weft::os
