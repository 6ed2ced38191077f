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
// The end. Goroutines have stopped by then, plain threads have not: they may be anywhere in step 1.
// The runtime's thread E stops the ring:
//   4. E closes `gate`, which T opened when it began. Step 1 is made inside the gate: who comes
//      later does not push and does not sleep, its request was cancelled; E waits for who is
//      inside, and from then on nobody pushes and nobody wakes T.
//   5. E sets kStopping and wakes T. T takes the list once more, and cancels all that it had not
//      given to the kernel.
//   6. T has the kernel cancel what is under way, or waits for it, and leaves. E closes the
//      eventfd; a waker that were still on its way would write to whoever gets the number next.
// A ring is not started any more either: who wins kNone -> kStarting looks at `exiting` after it. E
// leaves kNone by a CAS as well, so that the winner either comes before, and E waits for it, or
// after, and sees `exiting`. Closing is never left undone: a close that was cancelled is made by
// its caller.
//
// Not taken: submission by the goroutine itself under a lock. It saves the wake-up of the
// first of a batch, but a ring that several threads enter cannot be SINGLE_ISSUER, and
// then completions interrupt whoever submitted.
#include "netpoll/file_ring.h"

#include <cerrno>

#include "netpoll/pollers.h"
#include "runtime/fatal.h"
#include "runtime/gate.h"
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
  runtime::ForeignGate gate;                    // [a] steps 1 and 4
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

// Step 5.
void CancelBacklog() {
  while (ring.backlog != nullptr) {
    FileRequest* request = ring.backlog;
    ring.backlog = request->next;
    Goroutine* g = request->g;
    request->result = -ECANCELED;
    Ready(g);
  }
}

void Serve() {
  while (GetState() != kStopping) {
    TakeSubmitted();
    PrepareBacklog();
    SubmitAndWait();
    Reap();
  }
  TakeSubmitted();
  CancelBacklog();
  ring.uring.CancelAll();
  while (ring.under_way > 0) {
    SubmitAndWait();
    Reap();
  }
}

void EndStarting(State state) {
  SetState(state);
  ring.starters.WakeAll();
  os::FutexWake(ring.state, 1);  // StopFileRing, perhaps
}

void ThreadMain(void*) {
  ring.under_way = 0;
  ring.backlog = nullptr;
  if (ring.uring.Init() != 0) {
    EndStarting(kRefused);
    return;
  }
  ring.gate.Open();
  EndStarting(kRunning);
  Serve();
  ring.uring.CloseRing();
  SetState(kNone);
  os::FutexWake(ring.state, 1);
}

// The caller keeps the Runtime from going: it is on an M, or inside the gate to plain threads.
void StartOnce() {
  uint32_t found = kNone;
  // The state is handed on by filering.state; `exiting` is seen if filering.stop came before.
  if (!ring.state.CompareExchange(found, kStarting, os::kAcquire<"filering.start">)) return;
  if (runtime::Rt()->exiting.Load(os::kRelaxed<"filering.exiting">) != 0) {
    EndStarting(kNone);
  } else if (!Np()->use_rings || os::StartThread("weft-files", 0, ThreadMain, nullptr) != 0) {
    EndStarting(kRefused);
  }
}

// kRunning or kRefused, else the runtime ends or has ended.
State StartRing() {
  const bool plain = runtime::GetM() == nullptr;
  if (plain && !runtime::foreign_gate.Enter()) return kStopping;
  StartOnce();
  if (plain) runtime::foreign_gate.Leave();
  ring.starters.Wait([](void*) { return GetState() == kStarting; }, nullptr, WaitReason::kFile);
  return GetState();
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
  if (!ring.gate.Enter()) {
    request->result = -ECANCELED;
    return false;
  }
  FileRequest* head = ring.submitted.Load(os::kRelaxed<"filering.push.look">);  // for the CAS
  do {
    request->next = head;
    // The request is written before it is seen; pairs with filering.take.
  } while (!ring.submitted.CompareExchange(head, request, os::kRelease<"filering.push">));
  if (head == nullptr) ring.uring.Wake();
  ring.gate.Leave();
  return true;
}

}  // namespace

int64_t RunFileRequest(FileRequest* request) {
  State state = GetState();
  if (state != kRunning && state != kRefused) state = StartRing();
  if (state == kRunning) {
    Park(Submit, request, WaitReason::kFile);
  } else if (state == kRefused) {
    request->result = Blocking([request] { return CallBlocking(request->call); });
  } else {
    request->result = -ECANCELED;
  }
  if (request->result == -ECANCELED && request->call.op == os::FileOp::kClose) {
    request->result = os::CloseFd(request->call.fd);
  }
  return request->result;
}

void StopFileRing() {
  for (;;) {
    uint32_t found = GetState();
    if (found == kStarting) {
      // By a goroutine that was abandoned just then, or a plain thread.
      os::FutexWait(ring.state, kStarting);
    } else if (found == kRunning) {
      ring.gate.Close();
      SetState(kStopping);
      ring.uring.Wake();
      while (GetState() == kStopping) os::FutexWait(ring.state, kStopping);
      ring.uring.CloseWake();
    } else if (ring.state.CompareExchange(found, kNone, os::kRelease<"filering.stop">)) {
      return;  // pairs with filering.start
    }
  }
}

}  // namespace weft::netpoll
