// A netpoller under the explorer: two Ms with a ring each, the shared set, on the kernel of
// kernel.h. The scheduler is not there: goroutines that wait are plain threads, and a logical
// thread becomes an M by Be().
#pragma once

#include "netpoll/pollers.h"
#include "tests/model/kernel.h"
#include "tests/model/model.h"

namespace weft::model {

// A connection in use.
struct Connection {
  Socket socket;
  netpoll::Desc* desc;
  uint64_t token;
};

class NetpollWorld {
 public:
  NetpollWorld();
  NetpollWorld(const NetpollWorld&) = delete;
  NetpollWorld& operator=(const NetpollWorld&) = delete;
  ~NetpollWorld();

  // The M `i`, 0 or 1, and its ring.
  runtime::M* m(int i);
  netpoll::Ring* ring(int i);
  // The calling thread is that M from here on.
  void Be(int i);

  // Registered nowhere, nothing to report.
  Connection Connect();
  // As if it were registered: its reports come from the harness.
  Connection ConnectByHand();
  // In the ring of M `i`, which has submitted the poll. Before the threads begin.
  Connection ConnectInRing(int i);

  // The calling thread is the M `i` without work: sleeps where its poller says, and sees to what
  // comes, until End.
  void Attend(int i);
  void End();

  // Waits for data and takes it, as a reader does (net/fd.cc). False: the wait has ended otherwise.
  static bool Read(const Connection& c);
  // As net/fd.cc when its last user has left.
  static void Close(const Connection& c);

  // After the threads' end: both Ms come back to their rings; so many connections are open then,
  // and each other Desc is free, once.
  void CheckEnd(int open);

 private:
  os::Atomic<bool> ended_{false};
};

}  // namespace weft::model
