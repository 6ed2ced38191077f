// Listening, accepting, dialling; whose descriptors are whose; and what errors say. Ported in
// meaning from Go's net (dial_test.go, listen_test.go, server_test.go, error_test.go), own code.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "tests/fixture.h"
#include "tests/net_pair.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/net.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace weft {
namespace {

using net::Chunk;
using net::Conn;
using net::Listener;
using testing::AwaitWaiting;
using testing::ConnectedPair;
using testing::LetOthersRun;
using testing::Pair;

WEFT_TEST(NetDial, ErrorsNameOperationAddressesAndCause) {
  absl::StatusOr<Listener> listener = net::Listen("tcp", "127.0.0.1:0");
  ASSERT_TRUE(listener.ok());
  const std::string address = listener->Addr().ToString();
  absl::StatusOr<Listener> second = net::Listen("tcp", address);
  EXPECT_EQ(second.status().message(), "listen tcp " + address + ": Address already in use");

  Pair pair = ConnectedPair();
  pair.server.Close();
  const std::string names =
      pair.server.LocalAddr().ToString() + "->" + pair.server.RemoteAddr().ToString();
  absl::Status read = pair.server.Receive().status();
  EXPECT_TRUE(absl::IsCancelled(read));
  EXPECT_EQ(read.message(), "read tcp4 " + names + ": use of closed connection");

  EXPECT_TRUE(absl::IsInvalidArgument(net::Listen("udp", ":1").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(net::Listen("tcp", "nowhere").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(net::Dial("tcp4", "[::1]:1").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(Conn().WriteAll("x")));
  EXPECT_TRUE(absl::IsFailedPrecondition(Listener().Accept().status()));
}

WEFT_TEST_POLLERS(NetDial, WritesToAPeerThatIsGoneFail) {
  Pair pair = ConnectedPair();
  // Unread input makes the kernel send a reset.
  ASSERT_TRUE(pair.client.WriteAll("unread").ok());
  ASSERT_TRUE(pair.client.CloseWrite().ok());
  LetOthersRun();
  pair.server.Close();
  const std::string block(1 << 16, 'x');
  absl::Status status;
  for (int i = 0; i < 1000 && status.ok(); i++) status = pair.client.WriteAll(block);
  EXPECT_FALSE(status.ok());
  Pair other = ConnectedPair();
  other.server.Close();
  for (int i = 0; i < 1000 && status.ok(); i++) status = other.client.WriteAll(block);
  EXPECT_FALSE(status.ok());  // and no SIGPIPE
}

WEFT_TEST(NetDial, DialOfAPortWithoutListenerIsRefused) {
  std::string address;
  {
    absl::StatusOr<Listener> listener = net::Listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(listener.ok());
    address = listener->Addr().ToString();
  }
  absl::StatusOr<Conn> conn = net::Dial("tcp", address);
  ASSERT_FALSE(conn.ok());
  EXPECT_TRUE(absl::IsUnavailable(conn.status())) << conn.status();
  EXPECT_EQ(conn.status().message(), "dial tcp " + address + ": Connection refused");
}

WEFT_TEST_POLLERS(NetDial, DialGivesUpAfterItsTimeout) {
  // A backlog that is full drops what comes.
  net::ListenOptions options;
  options.backlog = 0;
  absl::StatusOr<Listener> listener = net::Listen("tcp", "127.0.0.1:0", options);
  ASSERT_TRUE(listener.ok());
  net::DialOptions dial;
  dial.timeout = absl::Milliseconds(100);
  std::vector<Conn> conns;
  absl::Status status;
  absl::Time begin;
  while (status.ok() && conns.size() < 100) {
    begin = absl::Now();
    absl::StatusOr<Conn> conn = net::Dial("tcp", listener->Addr().ToString(), dial);
    status = conn.status();
    if (conn.ok()) conns.push_back(*std::move(conn));
  }
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(100));

  CancelContext ctx = Context::WithCancel(Context::Background());
  WaitGroup canceller;
  canceller.Go([&] {
    AwaitWaiting(WaitReason::kIoWrite, 1);
    ctx.Cancel();
  });
  status = net::Dial("tcp", listener->Addr().ToString(), {}, ctx).status();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  canceller.Wait();
}

WEFT_TEST(NetDial, NamesThatNobodyKnowsAreNotFound) {
  absl::StatusOr<Conn> conn = net::Dial("tcp", "no-such-host.invalid:80");
  // Without any name server: temporary failure.
  EXPECT_TRUE(absl::IsNotFound(conn.status()) || absl::IsUnavailable(conn.status()))
      << conn.status();
}

// ---- Descriptors ----

int NoDelayOf(Conn& conn) {
  absl::StatusOr<int> fd = conn.Release();
  EXPECT_TRUE(fd.ok()) << fd.status();
  int value = -1;
  socklen_t length = sizeof(value);
  getsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &value, &length);
  close(*fd);
  return value;
}

WEFT_TEST(NetDial, SmallWritesAreNotHeldBack) {
  Pair pair = ConnectedPair();
  EXPECT_EQ(NoDelayOf(pair.client), 1);
  EXPECT_EQ(NoDelayOf(pair.server), 1);
}

// Whoever closes it, and whoever waited for it first.
WEFT_TEST_POLLERS(NetDial, ClosingAnAdoptedConnectionLeavesItsDuplicatesOpen) {
  int sockets[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  const int duplicate = dup(sockets[0]);
  absl::StatusOr<Conn> conn = Conn::Adopt(sockets[0]);
  ASSERT_TRUE(conn.ok()) << conn.status();
  WaitGroup reader;
  reader.Go([&] { EXPECT_FALSE(conn->Receive().ok()); });
  AwaitWaiting(WaitReason::kIoRead, 1);
  std::thread closer([&] { conn->Close(); });
  Blocking([&] { closer.join(); });
  reader.Wait();
  EXPECT_EQ(send(duplicate, "open", 4, MSG_NOSIGNAL), 4);
  char buffer[8];
  EXPECT_EQ(read(sockets[1], buffer, sizeof(buffer)), 4);
  close(duplicate);
  close(sockets[1]);
}

WEFT_TEST_POLLERS(NetDial, AdoptTakesAndReleaseGivesADescriptor) {
  int sockets[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  absl::StatusOr<Conn> conn = Conn::Adopt(sockets[0]);
  ASSERT_TRUE(conn.ok()) << conn.status();
  ASSERT_EQ(write(sockets[1], "hello", 5), 5);
  absl::StatusOr<Chunk> chunk = conn->Receive();
  ASSERT_TRUE(chunk.ok()) << chunk.status();
  EXPECT_EQ(chunk->view(), "hello");

  WaitGroup reader;
  reader.Go([&] {
    absl::StatusOr<Chunk> waited = conn->Receive();
    ASSERT_TRUE(waited.ok()) << waited.status();
    EXPECT_EQ(waited->view(), "wake");
  });
  AwaitWaiting(WaitReason::kIoRead, 1);
  EXPECT_TRUE(absl::IsFailedPrecondition(conn->Release().status()));
  ASSERT_EQ(write(sockets[1], "wake", 4), 4);
  reader.Wait();

  Conn copy = *conn;
  absl::StatusOr<int> released = conn->Release();
  ASSERT_TRUE(released.ok()) << released.status();
  EXPECT_EQ(*released, sockets[0]);
  EXPECT_TRUE(absl::IsCancelled(copy.WriteAll("x")));
  EXPECT_TRUE(absl::IsCancelled(copy.Release().status()));
  ASSERT_EQ(write(*released, "still open", 10), 10);
  close(*released);
  close(sockets[1]);

  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  EXPECT_FALSE(Conn::Adopt(pipes[0]).ok());
  close(pipes[0]);
  close(pipes[1]);
}

// Makes this process run out of descriptors while it lives.
class NoDescriptors {
 public:
  NoDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    // The lowest free number is the first that is refused.
    const int lowest_free = dup(0);
    close(lowest_free);
    const rlimit none{static_cast<rlim_t>(lowest_free), before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptors() { End(); }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;
  void End() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_;
};

// Client sockets that connect without a netpoller, made before descriptors run out.
int StartRawClient(const net::Address& address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(address.port());
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
  return fd;
}

WEFT_TEST_POLLERS(NetDial, AcceptSurvivesRunningOutOfDescriptors) {
  constexpr int kClients = 5;
  absl::StatusOr<Listener> listener = net::Listen("tcp", "127.0.0.1:0");
  ASSERT_TRUE(listener.ok());
  // The first one brings the listener into the netpoller, which may open descriptors of its own.
  int first = StartRawClient(listener->Addr());
  ASSERT_TRUE(listener->Accept().ok());
  close(first);
  std::vector<int> clients;
  for (int i = 0; i < kClients; i++) clients.push_back(StartRawClient(listener->Addr()));
  NoDescriptors none;
  CancelContext ctx = Context::WithTimeout(Context::Background(), absl::Milliseconds(50));
  absl::Status status = listener->Accept(ctx).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  WaitGroup later;
  later.Go([&] {
    Sleep(absl::Milliseconds(30));
    none.End();
  });
  for (int i = 0; i < kClients; i++) {
    absl::StatusOr<Conn> conn = listener->Accept();
    ASSERT_TRUE(conn.ok()) << conn.status();
  }
  later.Wait();
  for (int client : clients) close(client);
}

WEFT_TEST(NetDial, AcceptGivesUpAfterItsPatience) {
  net::ListenOptions options;
  options.accept_patience = absl::Milliseconds(40);
  absl::StatusOr<Listener> listener = net::Listen("tcp", "127.0.0.1:0", options);
  ASSERT_TRUE(listener.ok());
  int client = StartRawClient(listener->Addr());
  {
    NoDescriptors none;
    const absl::Time begin = absl::Now();
    absl::Status status = listener->Accept().status();
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_NE(status.message().find("Too many open files"), absl::string_view::npos) << status;
    EXPECT_GE(absl::Now() - begin, absl::Milliseconds(40));
  }
  EXPECT_TRUE(listener->Accept().ok());
  close(client);
}

}  // namespace
}  // namespace weft
