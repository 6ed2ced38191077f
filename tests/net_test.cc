// TCP: what arrives, in what order, with what errors. Ported in meaning from Go's net
// (net_test.go, server_test.go, writev_test.go), own code.
#include "weft/net.h"

#include <algorithm>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/fixture.h"
#include "tests/net_pair.h"
#include "weft/chan.h"
#include "weft/waitgroup.h"

namespace weft {
namespace {

using net::Chunk;
using net::Conn;
using net::Listener;
using testing::AwaitWaiting;
using testing::ConnectedPair;
using testing::Pair;
using testing::ReadToEnd;

// Sends back what comes, until the end of the stream.
void Echo(Conn conn) {
  for (;;) {
    absl::StatusOr<Chunk> chunk = conn.Receive();
    ASSERT_TRUE(chunk.ok()) << chunk.status();
    if (chunk->empty()) break;
    absl::Status written = conn.WriteAll(*chunk);
    ASSERT_TRUE(written.ok()) << written;
  }
  EXPECT_TRUE(conn.CloseWrite().ok());
}

// Bytes of which each tells its place.
std::string Pattern(size_t size, uint32_t seed = 1) {
  std::string data(size, '\0');
  for (size_t i = 0; i < size; i++) {
    seed = seed * 1664525 + 1013904223;
    data[i] = static_cast<char>(seed >> 24);
  }
  return data;
}

void EchoOver(std::string_view network, std::string_view address) {
  absl::StatusOr<Listener> listener = net::Listen(network, address);
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_NE(listener->Addr().port(), 0);
  WaitGroup server;
  server.Go([&] {
    absl::StatusOr<Conn> conn = listener->Accept();
    ASSERT_TRUE(conn.ok()) << conn.status();
    Echo(*std::move(conn));
  });
  absl::StatusOr<Conn> conn = net::Dial(network, listener->Addr().ToString());
  ASSERT_TRUE(conn.ok()) << conn.status();
  EXPECT_EQ(conn->RemoteAddr(), listener->Addr());
  for (int i = 0; i < 100; i++) {
    const std::string message = "message " + std::to_string(i);
    ASSERT_TRUE(conn->WriteAll(message).ok());
    std::string answer(message.size(), '\0');
    ASSERT_TRUE(io::ReadFull(*conn, answer).ok());
    ASSERT_EQ(answer, message);
  }
  ASSERT_TRUE(conn->CloseWrite().ok());
  EXPECT_EQ(ReadToEnd(*conn), "");
  server.Wait();
}

WEFT_TEST_POLLERS(Net, EchoesOverIpv4) {
  EchoOver("tcp4", "127.0.0.1:0");
}
WEFT_TEST_POLLERS(Net, EchoesOverIpv6) {
  EchoOver("tcp6", "[::1]:0");
}

WEFT_TEST(Net, WildcardListenerTakesIpv4AndIpv6) {
  absl::StatusOr<Listener> listener = net::Listen("tcp", "[::]:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  const std::string port = std::to_string(listener->Addr().port());
  for (const char* host : {"127.0.0.1:", "[::1]:", ":", "localhost:"}) {
    absl::StatusOr<Conn> client = net::Dial("tcp", host + port);
    ASSERT_TRUE(client.ok()) << client.status();
    absl::StatusOr<Conn> server = listener->Accept();
    ASSERT_TRUE(server.ok()) << server.status();
    // An IPv4 client looks like one, though the socket is of IPv6.
    EXPECT_EQ(server->RemoteAddr(), client->LocalAddr());
    EXPECT_EQ(server->LocalAddr(), client->RemoteAddr());
  }
}

WEFT_TEST_POLLERS(Net, TransfersOneMebibyte) {
  Pair pair = ConnectedPair();
  const std::string sent = Pattern(1 << 20);
  WaitGroup writer;
  writer.Go([&] {
    EXPECT_TRUE(pair.client.WriteAll(sent).ok());
    EXPECT_TRUE(pair.client.CloseWrite().ok());
  });
  EXPECT_TRUE(ReadToEnd(pair.server) == sent);
  writer.Wait();
}

WEFT_TEST(Net, WritevWritesEveryPartInOrder) {
  Pair pair = ConnectedPair();
  std::vector<std::string> pieces;
  std::string all;
  for (uint32_t i = 0; i < 300; i++) {
    pieces.push_back(Pattern(i % 7 == 0 ? 0 : i * 97 % 40'000, i));
    all += pieces.back();
  }
  const std::vector<std::string_view> parts(pieces.begin(), pieces.end());
  WaitGroup writer;
  writer.Go([&] {
    EXPECT_TRUE(pair.client.Writev(parts).ok());
    EXPECT_TRUE(pair.client.Writev({}).ok());
    EXPECT_TRUE(pair.client.CloseWrite().ok());
  });
  // More than the sockets hold: the write is cut short many times.
  std::string got;
  std::vector<char> buffer(3001);
  for (;;) {
    absl::StatusOr<size_t> n = pair.server.Read(buffer);
    ASSERT_TRUE(n.ok()) << n.status();
    if (*n == 0) break;
    got.append(buffer.data(), *n);
  }
  EXPECT_TRUE(got == all);
  writer.Wait();
}

WEFT_TEST(Net, WriteTakesWhatFits) {
  Pair pair = ConnectedPair();
  const std::string big(64 << 20, 'x');
  absl::StatusOr<size_t> n = pair.client.Write(big);
  ASSERT_TRUE(n.ok()) << n.status();
  EXPECT_GT(*n, 0u);
  EXPECT_LT(*n, big.size());
  n = pair.client.Write("");
  ASSERT_TRUE(n.ok());
  EXPECT_EQ(*n, 0u);
}

WEFT_TEST(Net, ChunksGrowWhileReadsFillThem) {
  Pair pair = ConnectedPair();
  const std::string sent = Pattern(1 << 20);
  WaitGroup writer;
  writer.Go([&] {
    EXPECT_TRUE(pair.client.WriteAll(sent).ok());
    EXPECT_TRUE(pair.client.CloseWrite().ok());
  });
  absl::StatusOr<Chunk> first = pair.server.Receive();
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->capacity(), Chunk::kMinPooled);
  std::string got(first->view());
  size_t largest = 0;
  for (;;) {
    absl::StatusOr<Chunk> chunk = pair.server.Receive();
    ASSERT_TRUE(chunk.ok()) << chunk.status();
    if (chunk->empty()) break;
    largest = std::max(largest, chunk->capacity());
    got.append(chunk->view());
  }
  EXPECT_GT(largest, Chunk::kMinPooled);
  EXPECT_LE(largest, Chunk::kMaxPooled);
  EXPECT_TRUE(got == sent);
  writer.Wait();
}

WEFT_TEST(Net, EndOfStreamIsReportedAgainAndAgain) {
  Pair pair = ConnectedPair();
  ASSERT_TRUE(pair.client.WriteAll("last").ok());
  pair.client.Close();
  char buffer[64];
  absl::StatusOr<size_t> n = pair.server.Read(buffer);
  ASSERT_TRUE(n.ok());
  EXPECT_EQ(std::string_view(buffer, *n), "last");
  for (int i = 0; i < 3; i++) {
    n = pair.server.Read(buffer);
    ASSERT_TRUE(n.ok()) << n.status();
    EXPECT_EQ(*n, 0u);
    absl::StatusOr<Chunk> chunk = pair.server.Receive();
    ASSERT_TRUE(chunk.ok()) << chunk.status();
    EXPECT_TRUE(chunk->empty());
  }
}

WEFT_TEST_POLLERS(Net, HalfClosedConnectionCarriesTheOtherDirection) {
  Pair pair = ConnectedPair();
  WaitGroup server;
  server.Go([&] {
    const std::string request = ReadToEnd(pair.server);
    EXPECT_TRUE(pair.server.WriteAll("got " + request).ok());
    pair.server.Close();
  });
  ASSERT_TRUE(pair.client.WriteAll("request").ok());
  ASSERT_TRUE(pair.client.CloseWrite().ok());
  EXPECT_EQ(ReadToEnd(pair.client), "got request");
  EXPECT_FALSE(pair.client.WriteAll("more").ok());
  server.Wait();
}

WEFT_TEST(Net, ReadersAreServedInTurn) {
  constexpr int kReaders = 8;
  Pair pair = ConnectedPair();
  WaitGroup readers;
  for (int i = 0; i < kReaders; i++) {
    readers.Go([&, i] {
      char byte = 0;
      absl::StatusOr<size_t> n = pair.server.Read({&byte, 1});
      ASSERT_TRUE(n.ok()) << n.status();
      EXPECT_EQ(byte, static_cast<char>(i));
    });
    AwaitWaiting(WaitReason::kIoRead, 1);
    AwaitWaiting(WaitReason::kIoLock, i);
  }
  std::string bytes;
  for (int i = 0; i < kReaders; i++) bytes.push_back(static_cast<char>(i));
  ASSERT_TRUE(pair.client.WriteAll(bytes).ok());
  readers.Wait();
}

WEFT_TEST_POLLERS(Net, WritersDoNotInterleave) {
  constexpr int kWriters = 4;
  constexpr size_t kBytes = 300'000;
  Pair pair = ConnectedPair();
  WaitGroup writers;
  for (int i = 0; i < kWriters; i++) {
    writers.Go([&, i] {
      const std::string data(kBytes, static_cast<char>('a' + i));
      absl::Status written = pair.client.WriteAll(data);
      EXPECT_TRUE(written.ok()) << written;
    });
  }
  WaitGroup closer;
  closer.Go([&] {
    writers.Wait();
    EXPECT_TRUE(pair.client.CloseWrite().ok());
  });
  const std::string got = ReadToEnd(pair.server);
  ASSERT_EQ(got.size(), kWriters * kBytes);
  for (size_t i = 0; i < got.size(); i++) {
    ASSERT_EQ(got[i], got[i / kBytes * kBytes]) << "at byte " << i;
  }
  closer.Wait();
}

WEFT_TEST_POLLERS(Net, ServesManyConnections) {
  constexpr int kConnections = 200;
  absl::StatusOr<Listener> listener = net::Listen("tcp", "127.0.0.1:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  WaitGroup all;
  all.Go([&] {
    for (int i = 0; i < kConnections; i++) {
      absl::StatusOr<Conn> conn = listener->Accept();
      ASSERT_TRUE(conn.ok()) << conn.status();
      all.Go([conn = *std::move(conn)]() mutable { Echo(std::move(conn)); });
    }
  });
  const std::string address = listener->Addr().ToString();
  for (int i = 0; i < kConnections; i++) {
    all.Go([&address, i] {
      absl::StatusOr<Conn> conn = net::Dial("tcp", address);
      ASSERT_TRUE(conn.ok()) << conn.status();
      const std::string sent = Pattern(1000, static_cast<uint32_t>(i));
      for (int round = 0; round < 5; round++) {
        ASSERT_TRUE(conn->WriteAll(sent).ok());
        std::string got(sent.size(), '\0');
        absl::Status read = io::ReadFull(*conn, got);
        ASSERT_TRUE(read.ok()) << read;
        ASSERT_TRUE(got == sent);
      }
    });
  }
  all.Wait();
}

// ---- Plain threads ----

WEFT_TEST_POLLERS(Net, PlainThreadsReadAndWriteAsWell) {
  Pair pair = ConnectedPair();
  Chan<bool> done(1);
  std::thread thread([&pair, &done] {
    Echo(pair.server);
    EXPECT_TRUE(done.Send(true));
  });
  for (int i = 0; i < 20; i++) {
    ASSERT_TRUE(pair.client.WriteAll("to a thread").ok());
    std::string answer(11, '\0');
    ASSERT_TRUE(io::ReadFull(pair.client, answer).ok());
    EXPECT_EQ(answer, "to a thread");
  }
  ASSERT_TRUE(pair.client.CloseWrite().ok());
  EXPECT_TRUE(done.Receive());
  thread.join();
}

}  // namespace
}  // namespace weft
