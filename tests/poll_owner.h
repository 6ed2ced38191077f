// Who polls what, and what the others do meanwhile: for tests of the netpoller's duties.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <semaphore>
#include <span>
#include <string_view>
#include <utility>

#include "gtest/gtest.h"
#include "netpoll/pollers.h"
#include "runtime/os/fault.h"
#include "runtime/sched.h"
#include "tests/net_pair.h"
#include "weft/go.h"
#include "weft/net.h"
#include "weft/runtime.h"
#include "weft/waitgroup.h"

namespace weft::testing {

// Far longer than anything here takes on a busy machine: only a failure waits for its end.
inline constexpr std::chrono::seconds kPatience{30};

// A connection with weft at one end, and a plain socket at the other.
struct RawPair {
  RawPair() {
    absl::StatusOr<net::Listener> listener = net::Listen("tcp4", "127.0.0.1:0");
    EXPECT_TRUE(listener.ok()) << listener.status();
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(listener->Addr().port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    // Done when it returns: the listener's backlog has it.
    EXPECT_EQ(connect(peer, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    absl::StatusOr<net::Conn> accepted = listener->Accept();
    EXPECT_TRUE(accepted.ok()) << accepted.status();
    if (accepted.ok()) conn = *std::move(accepted);
  }
  ~RawPair() { HangUp(); }
  RawPair(const RawPair&) = delete;
  RawPair& operator=(const RawPair&) = delete;

  // Any thread.
  void Send(char byte = 'x') const { EXPECT_EQ(send(peer, &byte, 1, MSG_NOSIGNAL), 1); }
  void HangUp() {
    if (peer >= 0) close(std::exchange(peer, -1));
  }

  net::Conn conn;
  int peer = -1;
};

// A goroutine that reads one byte; whether it got it may be asked by any thread.
class Reader {
 public:
  Reader() = default;
  ~Reader() { group_.Wait(); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  void Start() {
    group_.Go([this] {
      char byte = 0;
      status_ = pair_.conn.Read({&byte, 1}).status();
      served_.release();
    });
  }
  void Send() const { pair_.Send(); }
  // Blocks the thread.
  bool AwaitServed() { return served_.try_acquire_for(kPatience); }
  // The same by computing, without a poll.
  bool ComputeUntilServed() {
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < until) {
      if (served_.try_acquire()) return true;
    }
    return false;
  }
  // Once served.
  const absl::Status& status() const { return status_; }

 private:
  RawPair pair_;
  absl::Status status_;
  std::binary_semaphore served_{0};
  WaitGroup group_;
};

inline bool UsesRings() {
  return netpoll::Np()->use_rings;
}

// The ring of the M that runs the caller; null: it has none. (Never inlined: another M after each
// call that may park.)
[[gnu::noinline]] inline netpoll::Ring* OwnRing() {
  auto* ring =
      static_cast<netpoll::Ring*>(runtime::GetM()->ring.Load(os::kRelaxed<"test.own_ring">));
  return ring != nullptr && ring->open ? ring : nullptr;
}

// While it lives one M runs goroutines: the caller's. What waits for its first time then is in
// that M's ring, if there are rings.
class OneProc {
 public:
  OneProc() : before_(MaxProcs(1)) {}
  ~OneProc() { MaxProcs(before_); }
  OneProc(const OneProc&) = delete;
  OneProc& operator=(const OneProc&) = delete;

  // Until `count` goroutines wait to read.
  void AwaitReaders(int count) const {
    AwaitWaiting(WaitReason::kIoRead, count);
    // No more than so many rings are opened for one P; this M may be one too many.
    const bool may_have_one = Stats().netpoll_rings < netpoll::kRingsPerP;
    const netpoll::Ring* ring = OwnRing();
    if (!UsesRings() || (ring == nullptr && !may_have_one)) return;
    EXPECT_TRUE(ring != nullptr && ring->count.Load(os::kRelaxed<"test.polls">) > 0)
        << "the test needs a ring of its own";
  }

 private:
  int before_;
};

// Starts readers; the caller's M polls for them.
inline void StartHere(std::span<Reader> readers) {
  const OneProc one;
  for (Reader& reader : readers) reader.Start();
  one.AwaitReaders(static_cast<int>(readers.size()));
}
inline void StartHere(Reader& reader) {
  StartHere({&reader, 1});
}

// Blocks the thread until `holds()`, at most for `patience`; whether it holds.
template <class F>
bool AwaitOnThread(F holds, std::chrono::milliseconds patience = kPatience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > until) return false;
    usleep(100);
  }
  return true;
}

// For a thread that is no goroutine's, or in Blocking: until no P runs anything; then, if it comes
// to that, until sysmon sleeps as well (a ring without its owner keeps it awake).
inline void AwaitRest() {
  EXPECT_TRUE(AwaitOnThread([] {
    const RuntimeStats stats = Stats();
    return stats.idle_procs == stats.procs;
  }));
  // Chosen: several times what sysmon takes to go to sleep.
  AwaitOnThread([] { return runtime::Rt()->sysmon_sleeps.Load(os::kRelaxed<"test.sysmon">) != 0; },
                std::chrono::milliseconds(100));
}

// Makes kernel calls fail while it lives.
class Faults {
 public:
  explicit Faults(os::FaultHook hook) { Set(hook); }
  ~Faults() { End(); }
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;
  void End() { Set(nullptr); }

 private:
  static void Set(os::FaultHook hook) { os::fault_hook.Store(hook, os::kRelaxed<"test.fault">); }
};

}  // namespace weft::testing
