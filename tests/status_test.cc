// The status word: which transitions there are, who waits for whom, what is fatal.
#include "runtime/status.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "runtime/g.h"
#include "tests/emulated.h"
#include "tests/fixture.h"

namespace {

using weft::runtime::CasFromGScanStatus;
using weft::runtime::CasGCopyStack;
using weft::runtime::CasGFromPreempted;
using weft::runtime::CasGStatus;
using weft::runtime::CasGToPreemptScan;
using weft::runtime::CasToGScanStatus;
using weft::runtime::G;
using weft::runtime::Gcopystack;
using weft::runtime::Gdead;
using weft::runtime::Gidle;
using weft::runtime::Gpreempted;
using weft::runtime::Grunnable;
using weft::runtime::Grunning;
using weft::runtime::GState;
using weft::runtime::Gsyscall;
using weft::runtime::Gwaiting;
using weft::runtime::IsTransition;
using weft::runtime::kScan;
using weft::runtime::ReadGStatus;

constexpr GState kStates[] = {Gidle,    Grunnable, Grunning,   Gsyscall,
                              Gwaiting, Gdead,     Gcopystack, Gpreempted};

// Takes a fresh G to `state`, by legal ways alone.
void Bring(G* g, GState state) {
  g->goid = 77;
  if (state == Gidle) return;
  CasGStatus<Gidle, Gdead>(g);
  if (state == Gdead) return;
  CasGStatus<Gdead, Grunnable>(g);
  if (state == Grunnable) return;
  CasGStatus<Grunnable, Grunning>(g);
  if (state == Grunning) return;
  if (state == Gsyscall) {
    CasGStatus<Grunning, Gsyscall>(g);
  } else if (state == Gpreempted) {
    CasGStatus<Grunning, Gpreempted>(g);
  } else {
    CasGStatus<Grunning, Gwaiting>(g);
    if (state == Gcopystack) CasGStatus<Gwaiting, Gcopystack>(g);
  }
}

// ---- The table. ----

// Go's table, with the suspension of whole stacks and without Gmoribund and Genqueue. Written out
// once more, so that a slip in the table shows.
TEST(Status, TheTableIsTheOneThatTheSeedsDescribe) {
  const std::pair<GState, GState> legal[] = {
      {Gidle, Gdead},          {Gdead, Grunnable},     {Grunnable, Grunning},
      {Grunning, Grunnable},   {Grunning, Gwaiting},   {Gwaiting, Grunnable},
      {Gwaiting, Grunning},    {Grunning, Gsyscall},   {Gsyscall, Grunning},
      {Gsyscall, Grunnable},   {Grunning, Gdead},      {Gwaiting, Gcopystack},
      {Grunnable, Gcopystack}, {Gcopystack, Gwaiting}, {Gcopystack, Grunnable},
      {Grunning, Gpreempted},  {Gpreempted, Gwaiting},
  };
  for (GState from : kStates) {
    for (GState to : kStates) {
      bool expected = false;
      for (auto& [f, t] : legal) expected |= f == from && t == to;
      EXPECT_EQ(IsTransition(from, to), expected)
          << weft::runtime::GStateName(from) << " to " << weft::runtime::GStateName(to);
    }
  }
}

// CasGStatus of an illegal transition does not compile, by this.
static_assert(!IsTransition(Gwaiting, Gdead) && !IsTransition(Gdead, Grunning) &&
              !IsTransition(Grunnable, Gwaiting) && !IsTransition(Gidle, Grunnable) &&
              !IsTransition(Grunning, Grunning) && !IsTransition(Gpreempted, Grunnable) &&
              !IsTransition(Gsyscall, Gwaiting) && !IsTransition(Gwaiting, Gwaiting | kScan));

TEST(Status, EachLegalTransitionGoesThrough){
#define TRY_TRANSITION(from, to)      \
  {                                   \
    G g;                              \
    Bring(&g, from);                  \
    ASSERT_EQ(ReadGStatus(&g), from); \
    CasGStatus<from, to>(&g);         \
    EXPECT_EQ(ReadGStatus(&g), to);   \
  }
    WEFT_G_TRANSITIONS(TRY_TRANSITION)
#undef TRY_TRANSITION
}

TEST(Status, StatesHaveNames) {
  for (GState state : kStates) {
    const std::string name = weft::runtime::GStateName(state);
    EXPECT_EQ(name[0], 'G');
    EXPECT_EQ(weft::runtime::GStateName(state | kScan), name + "|Gscan");
  }
  EXPECT_STREQ(weft::runtime::GStateName(5), "not a status");
}

// ---- The scan bit. ----

TEST(Status, TheScanBitIsTakenOverAnyStateAndByOne) {
  for (GState state : kStates) {
    G g;
    Bring(&g, state);
    for (GState other : kStates) {
      EXPECT_TRUE(other == state || !CasToGScanStatus(&g, other));
    }
    ASSERT_TRUE(CasToGScanStatus(&g, state));
    EXPECT_EQ(ReadGStatus(&g), state | kScan);
    EXPECT_FALSE(CasToGScanStatus(&g, state)) << "it is taken";
    CasFromGScanStatus(&g, state);
    EXPECT_EQ(ReadGStatus(&g), state);
  }
}

// Runs `fn` on a thread while this one holds `g` in `held`; `release` lets go of it.
template <class F, class R>
void WaitsUntilReleased(G* g, uint32_t held, F fn, R release) {
  std::atomic<bool> begun = false, done = false;
  std::thread thread([&] {
    begun = true;
    fn();
    done = true;
  });
  while (!begun) std::this_thread::yield();
  // It may not have come as far as the word: then less is tested, nothing fails.
  for (int i = 0; i < 1000; i++) std::this_thread::yield();
  EXPECT_FALSE(done);
  EXPECT_EQ(ReadGStatus(g), held);
  release();
  thread.join();
}

TEST(Status, ScanBitBlocksReady) {
  G g;
  Bring(&g, Gwaiting);
  ASSERT_TRUE(CasToGScanStatus(&g, Gwaiting));
  WaitsUntilReleased(
      &g, Gwaiting | kScan, [&] { CasGStatus<Gwaiting, Grunnable>(&g); },
      [&] { CasFromGScanStatus(&g, Gwaiting); });
  EXPECT_EQ(ReadGStatus(&g), Grunnable);
}

TEST(Status, ScanBitBlocksSyscallExitAndExecution) {
  G in_syscall;
  Bring(&in_syscall, Gsyscall);
  ASSERT_TRUE(CasToGScanStatus(&in_syscall, Gsyscall));
  WaitsUntilReleased(
      &in_syscall, Gsyscall | kScan, [&] { CasGStatus<Gsyscall, Grunning>(&in_syscall); },
      [&] { CasFromGScanStatus(&in_syscall, Gsyscall); });
  G queued;
  Bring(&queued, Grunnable);
  ASSERT_TRUE(CasToGScanStatus(&queued, Grunnable));
  WaitsUntilReleased(
      &queued, Grunnable | kScan, [&] { CasGStatus<Grunnable, Grunning>(&queued); },
      [&] { CasFromGScanStatus(&queued, Grunnable); });
}

TEST(Status, ScanBitBlocksCopyStackAndPreemption) {
  G waiting;
  Bring(&waiting, Gwaiting);
  ASSERT_TRUE(CasToGScanStatus(&waiting, Gwaiting));
  WaitsUntilReleased(
      &waiting, Gwaiting | kScan, [&] { EXPECT_EQ(CasGCopyStack(&waiting), Gwaiting); },
      [&] { CasFromGScanStatus(&waiting, Gwaiting); });
  EXPECT_EQ(ReadGStatus(&waiting), Gcopystack);
  G running;
  Bring(&running, Grunning);
  ASSERT_TRUE(CasToGScanStatus(&running, Grunning));
  WaitsUntilReleased(
      &running, Grunning | kScan, [&] { CasGToPreemptScan(&running); },
      [&] { CasFromGScanStatus(&running, Grunning); });
  EXPECT_EQ(ReadGStatus(&running), Gpreempted | kScan);
}

// ---- Gcopystack. ----

TEST(Status, CopyStackTakesWaitingOrRunnableAndSaysWhich) {
  G waiting;
  Bring(&waiting, Gwaiting);
  EXPECT_EQ(CasGCopyStack(&waiting), Gwaiting);
  G runnable;
  Bring(&runnable, Grunnable);
  EXPECT_EQ(CasGCopyStack(&runnable), Grunnable);
}

TEST(Status, CopyStackBlocksReady) {
  G g;
  Bring(&g, Gwaiting);
  ASSERT_EQ(CasGCopyStack(&g), Gwaiting);
  WaitsUntilReleased(
      &g, Gcopystack, [&] { CasGStatus<Gwaiting, Grunnable>(&g); },
      [&] { CasGStatus<Gcopystack, Gwaiting>(&g); });
  EXPECT_EQ(ReadGStatus(&g), Grunnable);
}

// The netpoller readies while a shrinker takes the stack:
//   1. the shrinker reads Gwaiting, 2. the netpoller readies: Grunnable, 3. the shrinker's CAS from
//   Gwaiting fails. It must go on from Grunnable, not wait for Gwaiting to come back.
TEST(Status, CopyStackGoesOnWhileAnotherReadies) {
  const int rounds = weft::testing::Rounds(20'000);
  G g;
  Bring(&g, Gwaiting);
  std::atomic<int> round = 0;
  std::thread netpoller([&] {
    for (int i = 1; i <= rounds; i++) {
      while (round < i) std::this_thread::yield();
      CasGStatus<Gwaiting, Grunnable>(&g);
      round = -i;
    }
  });
  for (int i = 1; i <= rounds; i++) {
    round = i;
    do {
      if (CasGCopyStack(&g) == Gwaiting) {
        CasGStatus<Gcopystack, Gwaiting>(&g);
      } else {
        CasGStatus<Gcopystack, Grunnable>(&g);
      }
    } while (round != -i);
    ASSERT_EQ(ReadGStatus(&g), Grunnable);
    CasGStatus<Grunnable, Grunning>(&g);
    CasGStatus<Grunning, Gwaiting>(&g);
  }
  netpoller.join();
}

// ---- Gpreempted. ----

TEST(Status, OneSuspenderClaimsAPreemptedGoroutine) {
  for (int i = 0; i < 200; i++) {
    G g;
    Bring(&g, Grunning);
    CasGToPreemptScan(&g);
    EXPECT_FALSE(CasGFromPreempted(&g)) << "its M has not let go of it";
    std::atomic<int> claims = 0;
    std::vector<std::thread> suspenders;
    for (int t = 0; t < 3; t++) {
      suspenders.emplace_back([&] {
        for (int tries = 0; tries < 100 && ReadGStatus(&g) != Gwaiting; tries++) {
          claims += CasGFromPreempted(&g);
        }
      });
    }
    CasFromGScanStatus(&g, Gpreempted);
    for (std::thread& thread : suspenders) thread.join();
    claims += CasGFromPreempted(&g);
    ASSERT_EQ(claims, 1);
    ASSERT_EQ(ReadGStatus(&g), Gwaiting);
  }
}

// ---- What is fatal. ----

// `state` by its name, then the operation on a goroutine in that state.
template <class F>
void On(GState state, F fn) {
  static G g;
  Bring(&g, state);
  fn(&g);
}

TEST(StatusDeath, AWrongStateIsNamedWithTheGoroutine) {
  EXPECT_FATAL([] { On(Grunnable, [](G* g) { CasGStatus<Gwaiting, Grunnable>(g); }); },
               "illegal transition of goroutine 77: it is Grunnable, expected Gwaiting, to become "
               "Grunnable");
  EXPECT_FATAL([] { On(Grunning, [](G* g) { CasGStatus<Gsyscall, Grunnable>(g); }); },
               "goroutine 77: it is Grunning, expected Gsyscall, to become Grunnable");
  EXPECT_FATAL([] { On(Gdead, [](G* g) { CasGStatus<Gwaiting, Grunnable>(g); }); },
               "goroutine 77: it is Gdead, expected Gwaiting");
}

TEST(StatusDeath, AScanBitOverAnotherStateIsNotWaitedFor) {
  EXPECT_FATAL(
      [] {
        On(Grunnable, [](G* g) {
          ASSERT_TRUE(CasToGScanStatus(g, Grunnable));
          CasGStatus<Gwaiting, Grunnable>(g);
        });
      },
      "it is Grunnable.Gscan, expected Gwaiting");
}

TEST(StatusDeath, AnUnscanWithoutAScanIsFatal) {
  EXPECT_FATAL([] { On(Gwaiting, [](G* g) { CasFromGScanStatus(g, Gwaiting); }); },
               "goroutine 77: it is Gwaiting, expected Gwaiting");
}

TEST(StatusDeath, CopyStackOfARunningGoroutineIsFatal) {
  EXPECT_FATAL([] { On(Grunning, [](G* g) { (void)CasGCopyStack(g); }); },
               "it is Grunning, expected Gwaiting, to become Gcopystack");
  EXPECT_FATAL([] { On(Gwaiting, [](G* g) { CasGToPreemptScan(g); }); },
               "it is Gwaiting, expected Grunning, to become Gpreempted");
}

}  // namespace
