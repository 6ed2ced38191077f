// The run queue: each goroutine is taken exactly once, and what its pusher wrote is seen.
#include "runtime/runq.h"
#include "tests/model/model.h"

namespace weft::model {
namespace {

using runtime::G;
using runtime::GQueue;

constexpr uint32_t kCapacity = 4;

// Goroutines are numbered from 1; the queue never looks into them.
template <int kItems>
struct World {
  runtime::RunQueue<kCapacity> queue;
  os::Plain<int> payload[kItems];
  os::Plain<int> taken[kItems];

  static G* Number(int i) {
    return reinterpret_cast<G*>(uintptr_t{4096} * (static_cast<uintptr_t>(i) + 1));
  }
  void Take(G* g) {
    const size_t i = reinterpret_cast<uintptr_t>(g) / 4096 - 1;
    Check(payload[i] == static_cast<int>(i) + 7, "what the pusher wrote is seen");
    Check(taken[i] == 0, "taken once");
    taken[i] = 1;
  }
  void Put(int i, bool next) {
    payload[i] = i + 7;
    if (!next) {
      Push(Number(i));
    } else if (G* kicked = queue.PutNext(Number(i)); kicked != nullptr) {
      Push(kicked);
    }
  }
  void Push(G* g) {
    // The overflow is linked through the goroutines; here it would be: so the queue must not be
    // full. See Spill.
    GQueue overflow;
    queue.Push(g, &overflow);
  }
  void TakeRest() {
    bool inherits = false;
    while (G* g = queue.Pop(&inherits)) Take(g);
  }
  void StealOnce(bool take_next) {
    G* batch[kCapacity / 2];
    const uint32_t n = queue.Steal(batch, take_next);
    for (uint32_t i = 0; i < n; i++) Take(batch[i]);
  }
  void CheckAll() {
    for (auto& once : taken) Check(once == 1, "every one is taken");
  }
};

// One thief, the ring wraps.
MODEL(runq_wraps) {
  World<6> w;
  Spawn("owner", [&w] {
    for (int i = 0; i < 3; i++) w.Put(i, false);
    w.TakeRest();
    for (int i = 3; i < 6; i++) w.Put(i, false);
    w.TakeRest();
  });
  Spawn("thief", [&w] {
    w.StealOnce(false);
    w.StealOnce(false);
  });
  Join();
  w.CheckAll();
}

MODEL(runq_two_thieves) {
  World<4> w;
  Spawn("owner", [&w] {
    for (int i = 0; i < 4; i++) w.Put(i, false);
    w.TakeRest();
  });
  Spawn("thief1", [&w] { w.StealOnce(false); });
  Spawn("thief2", [&w] { w.StealOnce(false); });
  Join();
  w.CheckAll();
}

// runnext: put over one another, taken by the owner and by a thief.
MODEL(runq_next) {
  World<3> w;
  Spawn("owner", [&w] {
    for (int i = 0; i < 3; i++) w.Put(i, true);
    w.TakeRest();
  });
  Spawn("thief", [&w] {
    w.StealOnce(true);
    w.StealOnce(true);
  });
  Join();
  w.CheckAll();
}

// A full ring moves half away, unless a thief has made room.
MODEL(runq_overflow) {
  struct {
    runtime::RunQueue<kCapacity> queue;
    G g[6];
    os::Plain<int> taken[6];
    void Take(const G* one) {
      os::Plain<int>& mark = taken[one - g];
      Check(mark == 0, "taken once");
      mark = 1;
    }
  } w;
  Spawn("owner", [&w] {
    GQueue overflow;
    for (G& g : w.g) w.queue.Push(&g, &overflow);
    while (G* g = overflow.PopFront()) w.Take(g);
    bool inherits = false;
    while (G* g = w.queue.Pop(&inherits)) w.Take(g);
  });
  Spawn("thief", [&w] {
    G* batch[kCapacity / 2];
    const uint32_t n = w.queue.Steal(batch, false);
    for (uint32_t i = 0; i < n; i++) w.Take(batch[i]);
  });
  Join();
  for (auto& once : w.taken) Check(once == 1, "every one is taken");
}

// Empty never says so of a queue that is not: what runnext held moves to the ring as it is put
// over, then runnext is taken.
MODEL(runq_empty) {
  World<2> w;
  w.Put(0, true);
  Spawn("owner", [&w] {
    w.Put(1, true);
    bool inherits = false;
    w.Take(w.queue.Pop(&inherits));
    Check(inherits, "runnext goes first");
  });
  Spawn("looker", [&w] { Check(!w.queue.Empty(), "it is never empty"); });
  Join();
}

}  // namespace
}  // namespace weft::model
