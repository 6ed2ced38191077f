// Channels and select between plain threads: nothing is lost, doubled or left waiting.
#include <optional>

#include "tests/model/model.h"
#include "weft/chan.h"
#include "weft/select.h"

namespace weft::model {
namespace {

MODEL(chan_unbuffered) {
  Chan<int> chan;
  os::Plain<int> payload = 0;
  Spawn("sender", [&] {
    payload = 1;
    Check(chan.Send(5), "open");
  });
  Spawn("receiver", [&] {
    Check(chan.Receive() == 5, "the value arrives");
    Check(payload == 1, "what came before the send is seen");
  });
  Join();
}

MODEL(chan_buffered) {
  Chan<int> chan(1);
  Spawn("sender", [&] {
    for (int i = 1; i <= 2; i++) Check(chan.Send(int{i}), "open");
  });
  Spawn("receiver", [&] {
    for (int i = 1; i <= 2; i++) Check(chan.Receive() == i, "in order");
  });
  Join();
}

MODEL(chan_close) {
  Chan<int> chan;
  os::Plain<int> received = 0;
  Spawn("sender", [&] { (void)chan.Send(1); });
  Spawn("closer", [&] { chan.Close(); });
  Spawn("receiver", [&] {
    while (std::optional<int> got = chan.Receive()) received = received + *got;
  });
  Join();
  Check(received <= 1, "at most once");
}

MODEL(chan_is_closed) {
  Chan<int> chan;
  os::Plain<int> payload = 0;
  Spawn("closer", [&] {
    payload = 1;
    chan.Close();
  });
  Spawn("looker", [&] {
    if (chan.IsClosed()) Check(payload == 1, "what came before is seen");
  });
  Join();
}

// The last handle frees what the others have used.
MODEL(chan_dropped) {
  alignas(Chan<int>) static char rooms[2][sizeof(Chan<int>)];
  Chan<int>* handles[2] = {};
  {
    Chan<int> chan(1);
    for (int i = 0; i < 2; i++) handles[i] = new (rooms[i]) Chan<int>(chan);
  }
  for (Chan<int>* handle : handles) {
    Spawn("user", [handle] {
      (void)handle->TrySend(1);
      handle->~Chan();
    });
  }
  Join();
}

MODEL(chan_two_receivers, 1) {
  Chan<int> chan;
  os::Atomic<int> sum(0);
  Spawn("sender", [&] {
    Check(chan.Send(1), "open");
    chan.Close();
  });
  const auto receive = [&] {
    if (std::optional<int> got = chan.Receive()) sum.FetchAdd(*got, os::kRelaxed<"test.sum">);
  };
  Spawn("receiver1", receive);
  Spawn("receiver2", receive);
  Join();
  Check(sum.Load(os::kRelaxed<"test.sum.read">) == 1, "one of them has it");
}

// Two selects that each could serve the other.
MODEL(select_against_select) {
  Chan<int> a;
  Chan<int> b;
  os::Plain<int> wins[2];
  Spawn("T1", [&] {
    int out = 1;
    std::optional<int> in;
    wins[0] = Select(a.OnSend(&out), b.OnReceive(&in));
  });
  Spawn("T2", [&] {
    int out = 2;
    std::optional<int> in;
    wins[1] = Select(a.OnReceive(&in), b.OnSend(&out));
  });
  Join();
  Check(wins[0] == wins[1], "both by the same channel");
}

MODEL(select_against_close) {
  Chan<int> a;
  Chan<int> b;
  Spawn("selector", [&] {
    std::optional<int> from_a;
    std::optional<int> from_b;
    const int won = Select(a.OnReceive(&from_a), b.OnReceive(&from_b));
    Check(won == 0 ? !from_a.has_value() : from_b == 3, "the case that won");
  });
  Spawn("closer", [&] { a.Close(); });
  Spawn("sender", [&] { (void)b.TrySend(3); });
  Join();
}

}  // namespace
}  // namespace weft::model
