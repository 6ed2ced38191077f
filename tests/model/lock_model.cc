// The core's lock, the note and the gate.
#include "runtime/gate.h"
#include "runtime/lock.h"
#include "runtime/note.h"
#include "tests/model/model.h"

namespace weft::model {
namespace {

using runtime::Lock;
using runtime::LockRank;

template <int kThreads>
void LockHammer() {
  struct {
    Lock lock{LockRank::kChan};
    os::Plain<int> count = 0;
  } w;
  for (int i = 0; i < kThreads; i++) {
    static const char* const kNames[] = {"T1", "T2", "T3"};
    Spawn(kNames[i], [&w] {
      w.lock.Acquire();
      w.count = w.count + 1;
      w.lock.Release();
    });
  }
  Join();
  Check(w.count == kThreads, "one at a time");
}

MODEL(lock_two) {
  LockHammer<2>();
}
MODEL(lock_three) {
  LockHammer<3>();
}

// A release that lets somebody destroy the lock's owner.
MODEL(lock_release_last) {
  struct {
    Lock lock{LockRank::kChan};
    os::Plain<int> count = 0;
  } w;
  Spawn("last", [&w] {
    w.lock.Acquire();
    w.count = w.count + 1;
    w.lock.ReleaseLast();
  });
  const auto other = [&w] {
    w.lock.Acquire();
    w.count = w.count + 1;
    w.lock.Release();
  };
  Spawn("other1", other);
  Spawn("other2", other);
  Join();
  Check(w.count == 3, "one at a time");
}

// Who takes the lock after ReleaseLast may destroy it: its releaser touches it no more.
MODEL(lock_destroyed) {
  struct Owner {
    Lock lock{LockRank::kChan};
    bool done = false;  // [lock]
  };
  alignas(Owner) char room[sizeof(Owner)];
  Owner* owner = new (room) Owner;
  Spawn("last", [owner] {
    owner->lock.Acquire();
    owner->done = true;
    owner->lock.ReleaseLast();
  });
  Spawn("destroyer", [owner] {
    for (;;) {
      owner->lock.Acquire();
      const bool done = owner->done;
      owner->lock.Release();
      if (done) break;
      SpinPause();
    }
    owner->~Owner();
  });
  Join();
}

MODEL(note_hands_over) {
  struct {
    runtime::Note note;
    os::Plain<int> payload = 0;
  } w;
  Spawn("sleeper", [&w] {
    w.note.Sleep();
    Check(w.payload == 1, "what came before the wakeup is seen");
  });
  Spawn("waker", [&w] {
    w.payload = 1;
    w.note.Wakeup();
  });
  Join();
}

MODEL(note_times_out) {
  struct {
    runtime::Note note;
    os::Plain<int> payload = 0;
  } w;
  Spawn("sleeper", [&w] {
    if (w.note.Sleep(1000)) Check(w.payload == 1, "what came before the wakeup is seen");
  });
  Spawn("waker", [&w] {
    w.payload = 1;
    w.note.Wakeup();
  });
  Join();
}

// Who is inside comes before the end, who comes later does not get in.
MODEL(gate_against_end) {
  struct {
    runtime::ForeignGate gate;
    os::Plain<int> runtime = 0;  // there: 1
  } w;
  const auto pass = [&w] {
    if (!w.gate.Enter()) return;
    Check(w.runtime == 1, "it is there");
    w.gate.Leave();
  };
  Spawn("main", [&w] {
    w.runtime = 1;
    w.gate.Open();
    w.gate.Close();
    w.runtime = 0;
  });
  Spawn("thread1", pass);
  Spawn("thread2", pass);
  Join();
}

}  // namespace
}  // namespace weft::model
