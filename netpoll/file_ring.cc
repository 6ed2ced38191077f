// The problem. A file operation may take the kernel milliseconds, and io_uring works in the
// caller's buffer meanwhile. A ring that belongs to an M would stand still while that M computes;
// so the file ring has a thread of its own, which readies goroutines.
//
// Actors: goroutines (and plain threads) with a request; the ring's thread T.
//   1. The goroutine parks; its commit pushes the request on `submitted` (CAS, release) and,
//      when the list was empty, wakes T.
//   2. T takes the whole list (exchange, acquire), gives it to the kernel in the order in which it
//      was pushed, as far as there is room, and sleeps in the ring.
//   3. For each completion T stores the result in its request and readies the goroutine. From then
//      on the request is gone: it lay on the goroutine's stack.
// No request is left behind: who makes the list non-empty wakes T by an eventfd that the ring
// reads, and T looks at the list after each return from the ring, before it sleeps again. A push
// after that look finds the list empty and wakes T; one before it is found.
//
// The thread is started by the first request (states below); requests that come meanwhile wait
// for the outcome. When io_uring is refused the state says so until the runtime ends.
//
// Not taken: submission by the goroutine itself under a lock. It saves the wake-up of the
// first of a batch, but a ring that several threads enter cannot be SINGLE_ISSUER, and
// then completions interrupt whoever submitted.
#include "netpoll/file_ring.h"

#include <cerrno>

#include "netpoll/pollers.h"
#include "runtime/fatal.h"
#include "runtime/lock.h"
#include "runtime/os/futex.h"
#include "runtime/os/socket.h"
#include "runtime/os/thread.h"
#include "runtime/sched.h"
#include "runtime/sema.h"
#include "weft/go.h"

namespace weft::netpoll {

namespace {

enum State : uint32_t { kNone, kStarting, kRunning, kRefused, kStopping };

// Rules of access: [a] atomic   [t] the ring's thread
struct FileRing {
  os::Atomic<uint32_t> state{kNone};            // [a] a futex for StopFileRing
  os::Atomic<FileRequest*> submitted{nullptr};  // [a] last pushed first
  runtime::WaitQueue starters;                  // wait while kStarting
  os::FileUring uring;                          // [t] but for Wake
  FileRequest* backlog = nullptr;               // [t] taken from submitted, no room in the ring yet
  FileRequest* backlog_tail = nullptr;          // [t]
  uint32_t under_way = 0;                       // [t]
};

FileRing ring;

// Step 2, first half.
void TakeSubmitted() {
  // Pairs with filering.push.
  FileRequest* taken = ring.submitted.Exchange(nullptr, os::kAcquire<"filering.take">);
  FileRequest* first = nullptr;
  FileRequest* last = taken;
  while (taken != nullptr) {
    FileRequest* next = taken->next;
    taken->next = first;
    first = taken;
    taken = next;
  }
  if (first == nullptr) return;
  if (ring.backlog == nullptr) {
    ring.backlog = first;
  } else {
    ring.backlog_tail->next = first;
  }
  ring.backlog_tail = last;
}

// Step 2, second half.
void PrepareBacklog() {
  while (ring.backlog != nullptr && ring.under_way < os::FileUring::kMaxCalls) {
    FileRequest* request = ring.backlog;
    ring.backlog = request->next;
    ring.uring.Prepare(request->call, reinterpret_cast<uint64_t>(request));
    ring.under_way++;
  }
}

void SubmitAndWait() {
  const int error = ring.uring.SubmitAndWait();
  if (error < 0) runtime::Fatal("file ring: io_uring_enter says %d", int64_t{error});
}

// Step 3. While the runtime ends goroutines are readied for nobody, plain threads still go on.
void Reap() {
  uint64_t tag = 0;
  int32_t result = 0;
  while (ring.uring.NextResult(&tag, &result)) {
    FileRequest* request = reinterpret_cast<FileRequest*>(tag);
    WEFT_CHECK(ring.under_way > 0);
    ring.under_way--;
    Goroutine* g = request->g;
    request->result = result;
    Ready(g);
  }
}

void SetState(State state) {
  // What was done before (the ring's making, its end) is seen by who reads the state.
  ring.state.Store(state, os::kRelease<"filering.state">);
}

State GetState() {
  // Pairs with filering.state.
  return static_cast<State>(ring.state.Load(os::kAcquire<"filering.state.read">));
}

void Serve() {
  while (GetState() != kStopping) {
    TakeSubmitted();
    PrepareBacklog();
    SubmitAndWait();
    Reap();
  }
  ring.uring.CancelAll();
  while (ring.under_way > 0) {
    SubmitAndWait();
    Reap();
  }
}

void ThreadMain(void*) {
  ring.under_way = 0;
  ring.backlog = nullptr;
  const bool works = ring.uring.Init() == 0;
  SetState(works ? kRunning : kRefused);
  ring.starters.WakeAll();
  os::FutexWake(ring.state, 1);  // StopFileRing, perhaps
  if (works) {
    Serve();
    ring.uring.CloseRing();
    SetState(kNone);
    os::FutexWake(ring.state, 1);
  }
}

// True: the ring runs.
bool StartRing() {
  uint32_t found = kNone;
  // The winner starts the thread; the state is handed on by filering.state.
  if (ring.state.CompareExchange(found, kStarting, os::kAcquire<"filering.start">)) {
    if (!Np()->use_rings || os::StartThread("weft-files", 0, ThreadMain, nullptr) != 0) {
      SetState(kRefused);
      ring.starters.WakeAll();
    }
  }
  ring.starters.Wait([](void*) { return GetState() == kStarting; }, nullptr, WaitReason::kFile);
  return GetState() == kRunning;
}

int64_t CallBlocking(const os::FileCall& call) {
  switch (call.op) {
    case os::FileOp::kOpen:
      return os::OpenFile(call.path, call.open_flags, call.open_mode);
    case os::FileOp::kRead:
      return os::ReadFileAt(call.fd, call.data, call.size, call.offset);
    case os::FileOp::kWrite:
      return os::WriteFileAt(call.fd, call.data, call.size, call.offset);
    case os::FileOp::kSync:
      return os::SyncFile(call.fd);
    case os::FileOp::kClose:
      return os::CloseFd(call.fd);
  }
  return -EINVAL;
}

// Step 1. Once the request is pushed it may be gone.
bool Submit(Goroutine* self, void* arg) {
  FileRequest* request = static_cast<FileRequest*>(arg);
  request->g = self;
  FileRequest* head = ring.submitted.Load(os::kRelaxed<"filering.push.look">);  // for the CAS
  do {
    request->next = head;
    // The request is written before it is seen; pairs with filering.take.
  } while (!ring.submitted.CompareExchange(head, request, os::kRelease<"filering.push">));
  if (head == nullptr) ring.uring.Wake();
  return true;
}

}  // namespace

int64_t RunFileRequest(FileRequest* request) {
  WEFT_CHECK(runtime::Rt() != nullptr);
  const State state = GetState();
  if (state == kRunning || (state != kRefused && StartRing())) {
    Park(Submit, request, WaitReason::kFile);
  } else {
    request->result = Blocking([request] { return CallBlocking(request->call); });
  }
  return request->result;
}

void StopFileRing() {
  // Started by a goroutine that was abandoned just then.
  while (GetState() == kStarting) os::FutexWait(ring.state, kStarting);
  if (GetState() == kRunning) {
    SetState(kStopping);
    ring.uring.Wake();
    while (GetState() == kStopping) os::FutexWait(ring.state, kStopping);
    ring.uring.CloseWake();
  }
  SetState(kNone);
  // Requests of goroutines that were abandoned before their request was taken.
  ring.submitted.Store(nullptr, os::kRelaxed<"filering.forget">);
}

}  // namespace weft::netpoll
