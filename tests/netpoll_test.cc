// The netpoller beside the kernel: io_uring that is refused, descriptor numbers that come again,
// polls that end, and owners of rings that do not attend to them.
#include "netpoll/netpoll.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <thread>

#include "runtime/os/clock.h"
#include "tests/fixture.h"
#include "tests/poll_owner.h"
#include "weft/time.h"

namespace weft {
namespace {

using testing::AwaitOnThread;
using testing::AwaitWaiting;
using testing::ConnectedPair;
using ::testing::ExitedWithCode;
using testing::Faults;
using ::testing::HasSubstr;
using ::testing::KilledBySignal;
using testing::Pair;
using testing::RawPair;
using testing::Reader;
using testing::StartHere;

// ---- io_uring is refused. ----

// Both ends talk, each waits for the other.
bool ConnectionsWork() {
  Pair pair = ConnectedPair();
  WaitGroup echo;
  echo.Go([&] {
    char byte = 0;
    while (pair.server.Read({&byte, 1}).value_or(0) == 1 && pair.server.WriteAll({&byte, 1}).ok()) {
    }
  });
  bool works = true;
  for (int i = 0; i < 20; i++) {
    const char sent = static_cast<char>('a' + i);
    char byte = 0;
    works &= pair.client.WriteAll({&sent, 1}).ok();
    works &= pair.client.Read({&byte, 1}).ok() && byte == sent;
  }
  pair.client.Close();
  echo.Wait();
  return works;
}

// io_uring_setup fails with `error` in this process from now on.
void RefuseIoUring(unsigned error) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {static_cast<unsigned short>(std::size(filter)), filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    _exit(99);
  }
}

// In a process of its own: prints the poller's name; code 0 when connections work.
[[noreturn]] void RunWithPoller(const char* wanted) {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  setenv("WEFT_NETPOLL", wanted, 1);
  std::exit(Main([] {
    std::fprintf(stderr, "poller: %s\n", NetpollName().c_str());
    return ConnectionsWork() ? 0 : 1;
  }));
}

[[noreturn]] void RunRefused(unsigned error, const char* wanted) {
  RefuseIoUring(error);
  RunWithPoller(wanted);
}

[[noreturn]] void RunWithoutMemory(const char* wanted) {
  os::fault_hook.Store(
      [](os::FaultPoint point) { return point == os::FaultPoint::kUringSetup ? ENOMEM : 0; },
      os::kRelaxed<"test.no_memory">);
  RunWithPoller(wanted);
}

TEST(NetpollRefused, ByAFilterMeansEpollAndTheNameSaysWhy) {
  EXPECT_EXIT(RunRefused(EPERM, "auto"), ExitedWithCode(0),
              HasSubstr("poller: epoll (io_uring refused: Operation not permitted)"));
  EXPECT_EXIT(RunRefused(ENOSYS, "auto"), ExitedWithCode(0),
              HasSubstr("poller: epoll (io_uring refused: Function not implemented)"));
}

TEST(NetpollRefused, ForWantOfMemoryMeansEpollAndTheNameSaysWhy) {
  EXPECT_EXIT(RunWithoutMemory("auto"), ExitedWithCode(0),
              HasSubstr("poller: epoll (io_uring refused: Cannot allocate memory)"));
}

TEST(NetpollRefused, ButInsistedOnIsFatal) {
  EXPECT_EXIT(RunRefused(EPERM, "io_uring"), KilledBySignal(SIGABRT),
              HasSubstr("io_uring is refused: Operation not permitted"));
  EXPECT_EXIT(RunRefused(ENOSYS, "io_uring"), KilledBySignal(SIGABRT),
              HasSubstr("io_uring is refused: Function not implemented"));
  EXPECT_EXIT(RunWithoutMemory("io_uring"), KilledBySignal(SIGABRT),
              HasSubstr("io_uring is refused: Cannot allocate memory"));
}

TEST(NetpollRefused, DoesNotConcernWhoAskedForEpoll) {
  EXPECT_EXIT(RunRefused(EPERM, "epoll"), ExitedWithCode(0), HasSubstr("poller: epoll\n"));
}

// The first ring could be had at the start, an M's own cannot.
WEFT_TEST_POLLERS(NetpollRefused, WhenAnMOpensItsRingTheSharedSetServes) {
  Faults faults(
      [](os::FaultPoint point) { return point == os::FaultPoint::kUringSetup ? ENOMEM : 0; });
  EXPECT_TRUE(ConnectionsWork());
  EXPECT_EQ(Stats().netpoll_rings, 0u);
}

// ---- Descriptor numbers come again. ----

// One connection, closed by either end or by both at once under a reader that waits.
void OpenAndClose(int round) {
  RawPair pair;
  const char id = static_cast<char>(round);
  absl::StatusOr<size_t> got = 0;
  char byte = 0;
  WaitGroup reader;
  reader.Go([&] { got = pair.conn.Read({&byte, 1}); });
  if (round % 2 == 0) Yield();
  switch (round % 4) {
    case 0:
      pair.Send(id);
      reader.Wait();
      EXPECT_TRUE(got.ok() && *got == 1 && byte == id) << got.status();
      pair.conn.Close();
      break;
    case 1:
      pair.conn.Close();
      reader.Wait();
      EXPECT_TRUE(absl::IsCancelled(got.status())) << got.status();
      break;
    case 2:
      pair.HangUp();
      reader.Wait();
      EXPECT_TRUE(got.ok() && *got == 0) << got.status();
      break;
    default:
      pair.HangUp();
      pair.conn.Close();
      reader.Wait();
      EXPECT_TRUE(got.value_or(0) == 0) << "bytes that nobody sent";
  }
}

WEFT_TEST_POLLERS(NetpollReuse, EachConnectionGetsItsOwnBytesAndEnds) {
  WaitGroup all;
  for (int worker = 0; worker < procs() + 3; worker++) {
    all.Go([worker] {
      for (int round = 0; round < 60; round++) OpenAndClose(worker + round);
    });
  }
  all.Wait();
}

using netpoll::Desc;
using netpoll::Mode;
using netpoll::Result;

// A descriptor of the netpoller's own, of one end of a pair; the report that each starts with is
// taken.
struct RawDesc {
  RawDesc() {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    EXPECT_EQ(netpoll::Open(fds[0], netpoll::Kind::kStream, nullptr, &desc), 0);
    EXPECT_EQ(Wait(), Result::kReady);
  }
  ~RawDesc() {
    netpoll::Evict(desc);
    netpoll::Close(desc);
    close(fds[0]);
    if (fds[1] >= 0) close(fds[1]);
  }
  RawDesc(const RawDesc&) = delete;
  RawDesc& operator=(const RawDesc&) = delete;

  Result Wait() {
    int error = 0;
    const Result result = netpoll::Wait(desc, Mode::kRead, &error);
    EXPECT_EQ(error, 0);
    return result;
  }
  // How many reports there are for no reason, until a moment has passed or there are too many.
  int CountReports(int too_many) {
    int reports = 0;
    netpoll::SetDeadline(desc, Mode::kRead, os::Nanotime() + 100'000);
    while (reports < too_many && Wait() == Result::kReady) reports++;
    netpoll::SetDeadline(desc, Mode::kRead, 0);
    return reports;
  }
  void HangUp() { close(std::exchange(fds[1], -1)); }

  int fds[2] = {-1, -1};
  Desc* desc = nullptr;
};

// The former holder of the number hangs up just as it is closed. A report on its way then may
// reach the new one, which is harmless; that the peer has hung up must not.
WEFT_TEST_POLLERS(NetpollReuse, AHangUpStaysWithItsConnection) {
  // Chosen: more than there can be on their way, since one that is reported again is lasting.
  static constexpr int kTooMany = 100;
  WaitGroup all;
  for (int worker = 0; worker < procs() + 1; worker++) {
    all.Go([] {
      for (int round = 0; round < 20; round++) {
        {
          RawDesc old;
          WaitGroup waiter;
          waiter.Go([&] { old.Wait(); });
          Yield();
          old.HangUp();
          netpoll::Evict(old.desc);
          waiter.Wait();
        }
        RawDesc fresh;
        ASSERT_LT(fresh.CountReports(kTooMany), kTooMany);
        ASSERT_EQ(send(fresh.fds[1], "x", 1, MSG_NOSIGNAL), 1);
        ASSERT_EQ(fresh.Wait(), Result::kReady);
      }
    });
  }
  all.Wait();
}

// The reporter 1. takes a report out of the kernel, 2. loses its CPU; 3. the connection is closed,
// its state serves another; 4. the reporter goes on.
WEFT_TEST_POLLERS(NetpollReuse, AHangUpThatIsReportedTooLateIsForgotten) {
  Desc* first = nullptr;
  uint64_t token = 0;
  {
    RawDesc old;
    first = old.desc;
    token = old.desc->Token();
  }
  RawDesc fresh;
  ASSERT_EQ(fresh.desc, first) << "the test needs the same state to come again";
  ASSERT_NE(fresh.desc->Token(), token);
  runtime::GQueue nobody;
  netpoll::Report(fresh.desc, token, os::kPollIn | os::kPollReadHangUp | os::kPollHangUp, &nobody);
  EXPECT_TRUE(nobody.empty());
  EXPECT_LE(fresh.CountReports(100), 1);
}

// ---- A multishot poll ends. ----

uint64_t Entered() {
  uint64_t entered = 0;
  for (const os::Atomic<netpoll::Ring*>& entry : netpoll::Np()->rings) {
    if (const netpoll::Ring* ring = entry.Load(os::kAcquire<"test.rings">); ring != nullptr) {
      entered += ring->entered.Load(os::kRelaxed<"test.entered">);
    }
  }
  return entered;
}

// An owner whose ring was emptied while it was away has all its polls cancelled when it comes
// back. `moved`: how often connections had moved before.
void StayAwayUntilMoved(uint64_t moved) {
  Blocking(
      [moved] { EXPECT_TRUE(AwaitOnThread([moved] { return Stats().netpoll_moved > moved; })); });
}

// 1. The owner's connections are moved while it is in Blocking. 2. It comes back, and its
// goroutine waits for a new connection: a poll in the ring. 3. The owner cancels all that is in
// its ring, this one too. 4. The poll must be added again.
WEFT_TEST_POLLERS(NetpollMultishot, ThatWasCancelledWithOthersIsAddedAgain) {
  if (!testing::UsesRings()) return;
  Reader moves;
  StartHere(moves);
  StayAwayUntilMoved(0);
  RawPair pair;
  std::thread echo([&] {
    char byte = 0;
    while (recv(pair.peer, &byte, 1, 0) == 1 && send(pair.peer, &byte, 1, MSG_NOSIGNAL) == 1) {
    }
  });
  for (int i = 0; i < 50; i++) {
    const char sent = static_cast<char>(i);
    char byte = 0;
    ASSERT_TRUE(pair.conn.WriteAll({&sent, 1}).ok());
    ASSERT_TRUE(pair.conn.Read({&byte, 1}).ok());
    ASSERT_EQ(byte, sent);
  }
  const uint64_t entered = Entered();
  Sleep(absl::Milliseconds(10));
  // Chosen: a poll that is added and cancelled in turn enters thousands of times.
  EXPECT_LT(Entered() - entered, 500u);
  ASSERT_TRUE(pair.conn.CloseWrite().ok());
  Blocking([&] { echo.join(); });
  moves.Send();
}

// ---- Owners that do not attend. ----

WEFT_TEST_POLLERS(NetpollOwner, InBlockingIsServedFor) {
  const uint64_t moved = Stats().netpoll_moved;
  Reader reader;
  StartHere(reader);
  Blocking([&] {
    reader.Send();
    EXPECT_TRUE(reader.AwaitServed());
  });
  EXPECT_TRUE(reader.status().ok()) << reader.status();
  if (testing::UsesRings()) {
    EXPECT_GT(Stats().netpoll_moved, moved);
  }
}

WEFT_TEST_POLLERS(NetpollOwner, ThatComputesIsServedFor) {
  if (procs() == 1) return;  // nobody else could
  const uint64_t moved = Stats().netpoll_moved;
  Reader reader;
  StartHere(reader);
  reader.Send();
  EXPECT_TRUE(reader.ComputeUntilServed());
  EXPECT_TRUE(reader.status().ok()) << reader.status();
  if (testing::UsesRings()) {
    EXPECT_GT(Stats().netpoll_moved, moved);
  }
}

WEFT_TEST_POLLERS(NetpollOwner, OfManyConnectionsInBlockingIsServedForInAll) {
  constexpr int kReaders = 100;
  const uint64_t moved = Stats().netpoll_moved;
  Reader readers[kReaders];
  StartHere(readers);
  Blocking([&] {
    for (const Reader& reader : readers) reader.Send();
    for (Reader& reader : readers) EXPECT_TRUE(reader.AwaitServed());
  });
  if (testing::UsesRings()) {
    EXPECT_GE(Stats().netpoll_moved, moved + kReaders);
  }
}

}  // namespace
}  // namespace weft
