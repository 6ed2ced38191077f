// Mutex, WaitGroup, Once and Cond between plain threads, which wait by the same queues as
// goroutines.
#include "sync/waiter.h"
#include "tests/model/model.h"
#include "weft/cond.h"
#include "weft/mutex.h"
#include "weft/once.h"
#include "weft/waitgroup.h"

namespace weft::model {
namespace {

const char* const kNames[] = {"T1", "T2", "T3"};

template <int kThreads, int kRounds>
void MutexHammer() {
  struct {
    Mutex mutex;
    os::Plain<int> count = 0;
  } w;
  for (int i = 0; i < kThreads; i++) {
    Spawn(kNames[i], [&w] {
      for (int k = 0; k < kRounds; k++) {
        MutexLock lock(w.mutex);
        w.count = w.count + 1;
      }
    });
  }
  Join();
  Check(w.count == kThreads * kRounds, "one at a time");
}

MODEL(mutex_two) {
  MutexHammer<2, 2>();
}

// Explored, a waiter starves by its second reading of the clock: it is handed the mutex, while the
// third comes and goes.
MODEL(mutex_three) {
  MutexHammer<3, 1>();
}

MODEL(mutex_try) {
  struct {
    Mutex mutex;
    os::Plain<int> count = 0;
  } w;
  for (int i = 0; i < 2; i++) {
    Spawn(kNames[i], [&w]() WEFT_NO_THREAD_SAFETY_ANALYSIS {
      if (!w.mutex.TryLock()) w.mutex.Lock();
      w.count = w.count + 1;
      w.mutex.Unlock();
    });
  }
  Join();
  Check(w.count == 2, "one at a time");
}

// Who locks it last destroys it, while the Unlock before may still be returning.
MODEL(mutex_destroyed) {
  struct Owner {
    Mutex mutex;
    os::Plain<int> done = 0;
  };
  alignas(Owner) static char room[sizeof(Owner)];
  Owner* owner = new (room) Owner;
  const auto work = [owner] {
    owner->mutex.Lock();
    owner->done = owner->done + 1;
    const bool last = owner->done == 2;
    owner->mutex.Unlock();
    if (last) owner->~Owner();
  };
  Spawn("T1", work);
  Spawn("T2", work);
  Join();
}

// The group lies on its waiter's stack: gone once Wait returns.
MODEL(waitgroup_ends_with_its_waiter) {
  struct World {
    WaitGroup group;
    os::Plain<int> done[2];
  };
  alignas(World) static char room[sizeof(World)];
  World* w = new (room) World;
  w->group.Add(2);
  for (int i = 0; i < 2; i++) {
    Spawn(kNames[i], [w, i] {
      w->done[i] = 1;
      w->group.Done();
    });
  }
  Spawn("waiter", [w] {
    w->group.Wait();
    Check(w->done[0] == 1 && w->done[1] == 1, "what was done is seen");
    w->~World();
  });
  Join();
}

MODEL(waitgroup_two_waiters) {
  struct {
    WaitGroup group;
    os::Plain<int> done = 0;
  } w;
  w.group.Add(1);
  const auto wait = [&w] {
    w.group.Wait();
    Check(w.done == 1, "what was done is seen");
  };
  Spawn("waiter1", wait);
  Spawn("waiter2", wait);
  Spawn("doer", [&w] {
    w.done = 1;
    w.group.Done();
  });
  Join();
}

MODEL(once_three) {
  struct {
    Once once;
    os::Plain<int> runs = 0;
  } w;
  for (const char* name : kNames) {
    Spawn(name, [&w] {
      w.once.Do([&w] { w.runs = w.runs + 1; });
      Check(w.runs == 1, "it has run, once");
    });
  }
  Join();
}

// The first of two wakers is the one, and what it did before is seen.
MODEL(waiter_two_wakers) {
  struct World {
    sync::Waiter waiter;
    os::Plain<int> payload[2];
  } w;
  Spawn("waiter", [&w] {
    const int reason = w.waiter.Wait(WaitReason::kSleep);
    Check(w.payload[reason - 1] == reason, "what came before is seen");
  });
  for (int i = 0; i < 2; i++) {
    Spawn(kNames[i], [&w, i] {
      w.payload[i] = i + 1;
      w.waiter.Wake(static_cast<sync::Waiter::Reason>(i + 1));
    });
  }
  Join();
}

MODEL(cond_signal) {
  struct {
    Mutex mutex;
    Cond cond;
    os::Plain<int> ready = 0;
  } w;
  Spawn("waiter", [&w] {
    MutexLock lock(w.mutex);
    while (w.ready == 0) w.cond.Wait(w.mutex);
  });
  Spawn("signaller", [&w] {
    {
      MutexLock lock(w.mutex);
      w.ready = 1;
    }
    w.cond.Signal();
  });
  Join();
}

// Each signal ends one wait.
MODEL(cond_two_waiters, 1) {
  struct {
    Mutex mutex;
    Cond cond;
    os::Plain<int> tokens = 0;
  } w;
  const auto take = [&w] {
    MutexLock lock(w.mutex);
    while (w.tokens == 0) w.cond.Wait(w.mutex);
    w.tokens = w.tokens - 1;
  };
  Spawn("waiter1", take);
  Spawn("waiter2", take);
  Spawn("signaller", [&w] {
    {
      MutexLock lock(w.mutex);
      w.tokens = 2;
    }
    w.cond.Signal();
    w.cond.Signal();
  });
  Join();
}

}  // namespace
}  // namespace weft::model
