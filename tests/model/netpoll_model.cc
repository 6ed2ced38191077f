// The netpoller: a descriptor's wait against what ends it; rings against moves and closes.
#include "tests/model/model.h"
#include "tests/model/netpoll_world.h"
#include "tests/model/world.h"

namespace weft::model {
namespace {

using netpoll::Desc;
using netpoll::Mode;
using netpoll::Result;
using runtime::GQueue;

Result WaitToRead(Desc* d) {
  int error = 0;
  return netpoll::Wait(d, Mode::kRead, &error);
}

// As a poller that has reaped a report (ring.cc, shared.cc).
void HandleReport(uint64_t token, uint32_t mask) {
  GQueue ready;
  Desc* d = Desc::FromToken(token);
  if (d != nullptr) netpoll::Report(d, token, mask, &ready);
}

// ---- One descriptor (desc.cc) ----

MODEL(desc_wait_report) {
  struct {
    NetpollWorld world;
    Connection c = world.ConnectByHand();
    os::Plain<int> payload[2];
    Known<int> sent = 0;
  } w;
  Spawn("waiter", [&w] {
    int waits = 0;
    do {
      Check(WaitToRead(w.c.desc) == Result::kReady, "it is reported");
      Check(w.payload[waits++] == 1, "what came before the report is seen");
      Receive(w.c.socket.fd);
    } while (w.sent < 2);
  });
  Spawn("reporter", [&w] {
    for (os::Plain<int>& payload : w.payload) {
      payload = 1;
      Send(w.c.socket.file);
      ++w.sent;
      HandleReport(w.c.token, os::kPollIn);
    }
  });
  Join();
}

MODEL(desc_wait_deadline) {
  struct {
    NetpollWorld world;
    Connection c = world.ConnectByHand();
    os::Plain<int> payload = 0;
    os::Plain<int> expired = 0;
  } w;
  Spawn("waiter", [&w] {
    Result result = WaitToRead(w.c.desc);
    if (result == Result::kReady) {
      Check(w.payload == 1, "what came before the report is seen");
      result = WaitToRead(w.c.desc);
    }
    Check(result == Result::kTimeout, "it times out");
    Check(w.expired == 1, "what came before the deadline is seen");
  });
  Spawn("reporter", [&w] {
    w.payload = 1;
    HandleReport(w.c.token, os::kPollIn);
  });
  Spawn("timer", [&w] {
    w.expired = 1;
    netpoll::SetDeadline(w.c.desc, Mode::kRead, 1);
  });
  Join();
}

// The report does not come before the deadline, but what it would tell is there.
MODEL(desc_deadline_before_report) {
  struct {
    NetpollWorld world;
    Connection c = world.ConnectByHand();
  } w;
  Spawn("waiter", [&w] {
    Check(WaitToRead(w.c.desc) == Result::kReady, "data that is there ends the wait");
    Check(Receive(w.c.socket.fd), "it is there");
  });
  Spawn("sender", [&w] {
    // Until the wait has begun.
    const os::Atomic<uintptr_t>& word = w.c.desc->word[0];
    while (word.Load(os::kRelaxed<"test.word">) <= netpoll::kReady) SpinPause();
    Send(w.c.socket.file);
    netpoll::SetDeadline(w.c.desc, Mode::kRead, 1);
  });
  Join();
}

MODEL(desc_wait_evict) {
  struct {
    NetpollWorld world;
    Connection c = world.ConnectByHand();
    os::Plain<int> evicted = 0;
  } w;
  Spawn("waiter", [&w] {
    Check(WaitToRead(w.c.desc) == Result::kClosing, "nothing else ends it");
    Check(w.evicted == 1, "what came before the eviction is seen");
  });
  Spawn("closer", [&w] {
    w.evicted = 1;
    netpoll::Evict(w.c.desc);
  });
  Join();
}

// A reporter that is late: what it says of the former use is not kept for the next.
MODEL(desc_wait_close) {
  struct {
    NetpollWorld world;
    Connection c = world.ConnectByHand();
    os::Plain<int> evicted = 0;
    runtime::Note left;
  } w;
  Spawn("waiter", [&w] {
    // The report; the hang-up, which stays; or the end.
    bool closing = false;
    for (int i = 0; i < 2; i++) closing |= WaitToRead(w.c.desc) == Result::kClosing;
    if (closing) Check(w.evicted == 1, "what came before the eviction is seen");
    w.left.Wakeup();
  });
  Spawn("closer", [&w] {
    w.evicted = 1;
    netpoll::Evict(w.c.desc);
    w.left.Sleep();
    netpoll::Close(w.c.desc);
    const Connection next = w.world.Connect();
    Check(next.desc == w.c.desc && next.token != w.c.token, "the next use of the same Desc");
  });
  Spawn("reporter", [&w] { HandleReport(w.c.token, os::kPollIn | os::kPollReadHangUp); });
  Join();
  const uint32_t flags = w.c.desc->flags.Load(os::kRelaxed<"test.flags">);
  Check(flags % netpoll::kGeneration == 0, "the next use is neither closed nor hung up");
}

// A hang-up is reported once, and stays.
MODEL(desc_wait_hangup) {
  struct {
    NetpollWorld world;
    Connection c = world.ConnectByHand();
  } w;
  Spawn("waiter", [&w] {
    for (int i = 0; i < 3; i++) Check(WaitToRead(w.c.desc) == Result::kReady, "hung up");
  });
  Spawn("reporter", [&w] { HandleReport(w.c.token, os::kPollIn | os::kPollReadHangUp); });
  Spawn("timer", [&w] { netpoll::SetDeadline(w.c.desc, Mode::kRead, 0); });
  Join();
}

// Between 5 and 6 of a wait the goroutine may be readied, run elsewhere and wait once more; so it
// takes a whole scheduler.
MODEL(go_desc_two_waits, kOneBudget) {
  struct {
    NetpollWorld world;
    Connection c = world.ConnectByHand();
    os::Plain<int> payload = 0;
  } w;
  Scheduler scheduler(2);
  scheduler.Go([&w] {
    Result result = WaitToRead(w.c.desc);
    if (result == Result::kReady) {
      Check(w.payload == 1, "what came before the report is seen");
      result = WaitToRead(w.c.desc);
    }
    Check(result == Result::kTimeout, "it times out");
  });
  scheduler.Go([&w] {
    w.payload = 1;
    netpoll::SetReady(w.c.desc, Mode::kRead);
    netpoll::SetDeadline(w.c.desc, Mode::kRead, 1);
  });
  scheduler.Run();
}

// ---- Rings (ring.cc) ----

struct RingTest {
  NetpollWorld world;
  Connection c = world.ConnectInRing(0);
  Connection next;  // the descriptor's and the struct's next use, with which nobody meddles
  os::Plain<int> payload = 0;

  void SendOne() {
    payload = 1;
    Send(c.socket.file);
  }
  void ReadOne() {
    Check(NetpollWorld::Read(c), "data comes");
    Check(payload == 1, "what came before the data is seen");
  }
  void CloseAndUseAgain() {
    NetpollWorld::Close(c);
    Check(IsOver(c.socket.file), "the far end learns of it at once");
    next = world.Connect();
  }
  void CheckEnd() {
    world.CheckEnd(1);
    Check(References(c.socket.file) == 0, "the kernel has let go of the file");
    Check(References(next.socket.file) == 1, "no ring polls the next file");
    const uint32_t flags = next.desc->flags.Load(os::kRelaxed<"test.flags">);
    Check(flags % netpoll::kGeneration == 0, "the next use is neither closed nor hung up");
  }
};

// sysmon moves a ring's connections, as the owner comes back.
void MoveAndAttend(RingTest& w) {
  w.world.Be(1);
  GQueue woken;
  netpoll::MoveToShared(w.world.ring(0), &woken);
  w.world.Attend(1);
}

// A reader on another M takes its connection along.
void RehomeAndAttend(RingTest& w) {
  w.world.Be(1);
  netpoll::Rehome(w.world.m(1), w.c.desc, w.world.ring(0));
  w.world.Attend(1);
}

// Before the threads begin; neither ring is entered between.
void RehomeThereAndBack(RingTest& w) {
  for (int to : {1, 0}) {
    w.world.Be(to);
    netpoll::Rehome(w.world.m(to), w.c.desc, w.world.ring(1 - to));
  }
  runtime::weft_set_m(nullptr);
}

template <void (*kAct)(RingTest&)>
void ReadWhile(const char* actor) {
  RingTest w;
  // Both in one: a thread less.
  Spawn("sender and reader", [&w] {
    w.SendOne();
    w.ReadOne();
    w.world.End();
  });
  Spawn("owner", [&w] { w.world.Attend(0); });
  Spawn(actor, [&w] { kAct(w); });
  Join();
  w.CloseAndUseAgain();
  w.CheckEnd();
}

template <void (*kAct)(RingTest&)>
void CloseWhile(const char* actor) {
  RingTest w;
  Spawn("closer", [&w] {
    w.CloseAndUseAgain();
    w.world.End();
  });
  Spawn("owner", [&w] { w.world.Attend(0); });
  Spawn(actor, [&w] { kAct(w); });
  Join();
  w.CheckEnd();
}

MODEL(ring_move_read, kOneBudget) {
  ReadWhile<MoveAndAttend>("sysmon");
}
MODEL(ring_move_close, kOneBudget) {
  CloseWhile<MoveAndAttend>("sysmon");
}
MODEL(ring_rehome_read, kOneBudget) {
  ReadWhile<RehomeAndAttend>("thief");
}
MODEL(ring_rehome_close, kOneBudget) {
  CloseWhile<RehomeAndAttend>("thief");
}

// The shared set may refuse a connection that moves there: its reader tries again.
void MoveInVainAndAttend(RingTest& w) {
  RefuseOneEntry();
  MoveAndAttend(w);
}
MODEL(ring_refused_read, kOneBudget) {
  ReadWhile<MoveInVainAndAttend>("sysmon");
}
MODEL(ring_refused_close, kOneBudget) {
  CloseWhile<MoveInVainAndAttend>("sysmon");
}

// The owner's thread ends: its connections go to the shared set.
void EndOwner(RingTest& w) {
  w.world.Be(0);
  GQueue woken;
  netpoll::CloseRing(w.world.ring(0), &woken);
}
MODEL(ring_end_read, kOneBudget) {
  RingTest w;
  Spawn("sender and reader", [&w] {
    w.SendOne();
    w.ReadOne();
    w.world.End();
  });
  Spawn("owner", [&w] {
    EndOwner(w);
    w.world.Attend(1);  // the M that WatchShared wakes
  });
  Join();
  w.CloseAndUseAgain();
  w.CheckEnd();
}
MODEL(ring_end_close, kOneBudget) {
  RingTest w;
  Spawn("closer", [&w] { w.CloseAndUseAgain(); });
  Spawn("sender", [&w] { w.SendOne(); });
  Spawn("owner", [&w] { EndOwner(w); });
  Join();
  w.CheckEnd();
}

// Closed where it lives now, which the first owner need not know yet.
MODEL(ring_rehome_close_here, kOneBudget) {
  RingTest w;
  Spawn("thief", [&w] {
    w.world.Be(1);
    netpoll::Rehome(w.world.m(1), w.c.desc, w.world.ring(0));
    w.CloseAndUseAgain();
    w.world.End();
  });
  Spawn("sender", [&w] { w.SendOne(); });
  Spawn("owner", [&w] { w.world.Attend(0); });
  Join();
  w.CheckEnd();
}

// The kernel may end a multishot with a report: the owner adds it again.
MODEL(ring_rearm_read, kOneBudget) {
  RingTest w;
  EndOnePoll();
  Spawn("sender and reader", [&w] {
    for (int i = 0; i < 2; i++) {
      w.SendOne();
      w.ReadOne();
    }
    w.world.End();
  });
  Spawn("owner", [&w] { w.world.Attend(0); });
  Join();
  w.CloseAndUseAgain();
  w.CheckEnd();
}

// Unless it was moved, and perhaps closed.
MODEL(ring_rearm_close, kOneBudget) {
  RingTest w;
  EndOnePoll();
  Spawn("closer", [&w] {
    GQueue woken;
    netpoll::MoveToShared(w.world.ring(0), &woken);
    w.CloseAndUseAgain();
    w.world.End();
  });
  Spawn("sender", [&w] { w.SendOne(); });
  Spawn("owner", [&w] { w.world.Attend(0); });
  Join();
  w.CheckEnd();
}

// The reader comes back to the first M before that M has entered its ring.
MODEL(ring_rehome_back, kOneBudget) {
  RingTest w;
  RehomeThereAndBack(w);
  Spawn("closer", [&w] {
    w.CloseAndUseAgain();
    w.world.End();
  });
  Spawn("owner", [&w] { w.world.Attend(0); });
  Join();
  w.CheckEnd();
}

// Closed by the owner.
MODEL(ring_rehome_back_here, kOneBudget) {
  RingTest w;
  RehomeThereAndBack(w);
  Spawn("owner", [&w] {
    w.world.Be(0);
    GQueue none;
    netpoll::ReadRing(w.world.ring(0), 0, false, &none);
    netpoll::ReadRing(w.world.ring(0), 0, false, &none);
    w.CloseAndUseAgain();
  });
  Join();
  w.CheckEnd();
}

// The owner goes to sleep while sysmon moves: it does not keep the polls all the while.
MODEL(ring_move_release, kOneBudget) {
  RingTest w;
  Spawn("closer", [&w] {
    w.CloseAndUseAgain();
    AwaitRelease(w.c.socket.file);
    w.world.End();
  });
  Spawn("owner", [&w] { w.world.Attend(0); });
  Spawn("sysmon", [&w] { MoveAndAttend(w); });
  Join();
  w.CheckEnd();
}

// Closed by a plain thread: the owner wakes up and takes the poll back.
MODEL(ring_close_elsewhere, kOneBudget) {
  RingTest w;
  Spawn("closer", [&w] {
    w.CloseAndUseAgain();
    AwaitRelease(w.c.socket.file);
    w.world.End();
  });
  Spawn("sender", [&w] { w.SendOne(); });
  Spawn("owner", [&w] { w.world.Attend(0); });
  Join();
  w.CheckEnd();
}

// Closed by the owner: the kernel has let go of the file before its descriptor is closed.
MODEL(ring_close_here, kOneBudget) {
  RingTest w;
  LimitReports(1);
  Spawn("owner", [&w] {
    w.world.Be(0);
    netpoll::Evict(w.c.desc);
    netpoll::Close(w.c.desc);
    Check(References(w.c.socket.file) == 1, "only the descriptor is left");
    os::CloseDescriptor(w.c.socket.fd);
    w.next = w.world.Connect();
  });
  Spawn("sender", [&w] {
    os::SignalEvent(w.world.ring(0)->wake_fd);  // its report goes before the cancelled poll's
    w.SendOne();
  });
  Join();
  w.CheckEnd();
}

}  // namespace
}  // namespace weft::model
