// What a goroutine keeps over a switch, and how far its stack can be walked: floating-point modes,
// registers, exceptions, unwinding. tests/gdb_switch_test.py runs ForTheDebugger under gdb.
#include <unistd.h>
#include <unwind.h>

#include <atomic>
#include <cfenv>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/debugging/symbolize.h"
#include "absl/time/time.h"
#include "arch/modes.h"
#include "runtime/print.h"
#include "runtime/sched.h"
#include "runtime/traceback.h"
#include "tests/fixture.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/park.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace switch_test {

// Where the debugger stops; the statement behind each call keeps it from being a tail call.
[[gnu::noinline]] void StopsHere(int round) {
  asm volatile("" ::"r"(round));
}
[[gnu::noinline]] void CallsStopsHere(int round) {
  StopsHere(round);
  weft::Yield();
  asm volatile("");
}

}  // namespace switch_test

namespace {

using weft::Chan;
using weft::WaitGroup;
using weft::arch::CurrentModes;
using weft::arch::FloatingPointModes;
using weft::arch::kFirstModes;
using weft::arch::kOddModes;

// All the ways to leave a processor and come back, one after the other.
void ParkInAllWays(int i) {
  weft::Yield();
  Chan<int> chan;
  weft::Go([chan, i]() mutable { ASSERT_TRUE(chan.Send(i)); });
  ASSERT_EQ(chan.Receive(), i);
  if (i % 8 == 0) weft::Sleep(absl::Microseconds(20));
  weft::Blocking([] { return getppid(); });
}

// ---- Floating-point modes. ----

WEFT_TEST(Switch, RoundingModesBelongToTheGoroutine) {
  WaitGroup group;
  for (int mode : {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_UPWARD, FE_DOWNWARD}) {
    group.Go([mode] {
      ASSERT_EQ(std::fesetround(mode), 0);
      const FloatingPointModes modes = CurrentModes();
      for (int i = 0; i < 200; i++) {
        ParkInAllWays(i);
        ASSERT_EQ(std::fegetround(), mode);
        ASSERT_EQ(CurrentModes(), modes);
      }
    });
  }
  group.Wait();
  EXPECT_EQ(std::fegetround(), FE_TONEAREST);
}

// What no rounding of doubles shows, next to a goroutine with the first modes.
WEFT_TEST(Switch, ModesOtherThanRoundingBelongToTheGoroutine) {
  std::vector<FloatingPointModes> all(std::begin(kOddModes), std::end(kOddModes));
  all.push_back(kFirstModes);
  WaitGroup group;
  for (const FloatingPointModes& modes : all) {
    group.Go([modes] {
      weft::arch::SetModes(modes);
      for (int i = 0; i < 100; i++) {
        ParkInAllWays(i);
        ASSERT_EQ(CurrentModes(), modes);
      }
    });
  }
  group.Wait();
}

// Whatever the spawner's modes are, and those of who had the thread or the stack before.
WEFT_TEST(Switch, ANewGoroutineHasTheAbisFirstModes) {
  WaitGroup group;
  for (int round = 0; round < 50; round++) {
    group.Go([&group, round] {
      EXPECT_EQ(CurrentModes(), kFirstModes);
      ASSERT_EQ(std::fesetround(round % 2 == 0 ? FE_UPWARD : FE_TOWARDZERO), 0);
      for (int i = 0; i < 3; i++) {
        group.Go([] { EXPECT_EQ(CurrentModes(), kFirstModes); });
      }
      if (round % 3 == 0) weft::Yield();
      // Ends in its mode.
    });
  }
  group.Wait();
}

// ---- Registers. ----

WEFT_TEST(Switch, ValuesInRegistersSurvive) {
  WaitGroup group;
  for (uint64_t seed = 1; seed <= 8; seed++) {
    group.Go([seed] {
      // More live values than there are callee-saved registers; the asm makes them opaque.
      uint64_t a = seed, b = seed * 3, c = seed * 5, d = seed * 7, e = seed * 11, f = seed * 13;
      uint64_t g = seed * 17, h = seed * 19, j = seed * 23, k = seed * 29, l = seed * 31;
      double s = double(seed), t = s / 2, u = s / 4, v = s / 8, w = s / 16, x = s / 32;
      double y = s / 64, z = s / 128, q = s / 256;
      for (uint64_t i = 0; i < 500; i++) {
        asm volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
        asm volatile("" : "+r"(g), "+r"(h), "+r"(j), "+r"(k), "+r"(l));
        weft::Yield();
        a++, b += 2, c += 3, d += 4, e += 5, f += 6, g += 7, h += 8, j += 9, k += 10, l += 11;
        s += 1, t += 2, u += 3, v += 4, w += 5, x += 6, y += 7, z += 8, q += 9;
      }
      const uint64_t integers[] = {a, b, c, d, e, f, g, h, j, k, l};
      const uint64_t primes[] = {1, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31};
      for (uint64_t i = 0; i < std::size(integers); i++) {
        EXPECT_EQ(integers[i], seed * primes[i] + 500 * (i + 1));
      }
      const double doubles[] = {s, t, u, v, w, x, y, z, q};
      for (uint64_t i = 0; i < std::size(doubles); i++) {
        EXPECT_EQ(doubles[i], double(seed) / double(1 << i) + 500.0 * double(i + 1));
      }
    });
  }
  group.Wait();
}

// ---- Exceptions. ----

std::string CurrentMessage() {
  try {
    if (std::exception_ptr current = std::current_exception()) std::rethrow_exception(current);
  } catch (const std::exception& e) {
    return e.what();
  }
  return "none";
}

WEFT_TEST(Switch, AGoroutineParksInsideCatchBlocks) {
  WaitGroup group;
  for (int w = 0; w < 6; w++) {
    group.Go([w] {
      for (int i = 0; i < 50; i++) {
        const std::string outer = "outer " + std::to_string(w * 1000 + i);
        const std::string inner = "inner " + std::to_string(w * 1000 + i);
        EXPECT_EQ(CurrentMessage(), "none");
        try {
          throw std::runtime_error(outer);
        } catch (const std::exception& caught) {
          ParkInAllWays(i);
          ASSERT_EQ(CurrentMessage(), outer);
          try {
            try {
              throw std::logic_error(inner);
            } catch (...) {
              ParkInAllWays(i);
              ASSERT_EQ(CurrentMessage(), inner);
              throw;
            }
          } catch (const std::logic_error& again) {
            weft::Yield();
            ASSERT_EQ(again.what(), inner);
          }
          weft::Yield();
          ASSERT_EQ(CurrentMessage(), outer);
          ASSERT_EQ(caught.what(), outer);
        }
        ASSERT_EQ(CurrentMessage(), "none");
      }
    });
  }
  group.Wait();
}

// Parks while an exception passes it.
struct ParksWhenDestroyed {
  int expected;
  ~ParksWhenDestroyed() {
    EXPECT_EQ(std::uncaught_exceptions(), expected);
    ParkInAllWays(1);
    EXPECT_EQ(std::uncaught_exceptions(), expected);
  }
};

WEFT_TEST(Switch, UncaughtExceptionsAreCountedPerGoroutine) {
  WaitGroup group;
  for (int w = 0; w < 6; w++) {
    group.Go([] {
      for (int i = 0; i < 50; i++) {
        ASSERT_EQ(std::uncaught_exceptions(), 0);
        try {
          ParksWhenDestroyed parks{1};
          throw std::runtime_error("passing");
        } catch (const std::runtime_error&) {
          ASSERT_EQ(std::uncaught_exceptions(), 0);
        }
        ParksWhenDestroyed none{0};
      }
    });
  }
  group.Wait();
}

WEFT_TEST(Switch, AnExceptionCanBeCarriedToAnotherGoroutine) {
  Chan<std::exception_ptr> chan;
  WaitGroup group;
  group.Go([&] {
    try {
      throw std::runtime_error("carried");
    } catch (...) {
      ASSERT_TRUE(chan.Send(std::current_exception()));
    }
  });
  // Held until all others have let go of it: libstdc++'s count of references is out of TSan's
  // sight.
  const std::exception_ptr carried = *chan.Receive();
  try {
    std::rethrow_exception(carried);
  } catch (const std::runtime_error& e) {
    weft::Yield();
    EXPECT_STREQ(e.what(), "carried");
  }
  group.Wait();
}

// ---- Unwinding. ----

// The names of the caller's frames, from the innermost.
[[gnu::noinline]] std::vector<std::string> Frames() {
  std::vector<std::string> names;
  _Unwind_Backtrace(
      [](_Unwind_Context* context, void* arg) {
        char name[256] = "?";
        const uintptr_t pc = _Unwind_GetIP(context);
        if (pc == 0) return _URC_END_OF_STACK;
        absl::Symbolize(reinterpret_cast<void*>(pc - 1), name, sizeof(name));
        static_cast<std::vector<std::string>*>(arg)->push_back(name);
        return _URC_NO_REASON;
      },
      &names);
  return names;
}

std::string ReadAndClose(int fd) {
  char buffer[8192];
  const ssize_t n = read(fd, buffer, sizeof(buffer));
  close(fd);
  return {buffer, static_cast<size_t>(n < 0 ? 0 : n)};
}

// What libunwind makes of the caller.
[[gnu::noinline]] std::string OwnTrace() {
  int fds[2];
  if (pipe(fds) != 0) return "no pipe";
  {
    weft::runtime::Printer out(fds[1]);
    weft::runtime::PrintOwnTrace(&out, nullptr);
  }
  close(fds[1]);
  return ReadAndClose(fds[0]);
}

// The unwinders open descriptors at their first use, for good: before the fixture counts them.
class UnwindersAreOpen : public ::testing::Environment {
  void SetUp() override {
    OwnTrace();
    Frames();
  }
};
[[maybe_unused]] ::testing::Environment* const unwinders_are_open =
    ::testing::AddGlobalTestEnvironment(new UnwindersAreOpen);

// Abseil finds a program's symbols by /proc/self/maps.
bool HaveNames() {
  char name[64];
  return absl::Symbolize(reinterpret_cast<const void*>(&weft::runtime::PrintOwnTrace), name,
                         sizeof(name));
}

WEFT_TEST(Unwind, FromAGoroutineEndsAtItsStart) {
  if (!HaveNames()) GTEST_SKIP() << "no symbols: qemu-user's /proc/self/maps is not the kernel's";
  WaitGroup group;
  for (int i = 0; i < 3; i++) {
    group.Go([] {
      weft::Yield();
      const std::vector<std::string> frames = Frames();
      ASSERT_GE(frames.size(), 3u);
      EXPECT_EQ(frames.back(), "weft_gostart");
      EXPECT_EQ(frames[frames.size() - 2], "weft_goroutine_main");
      const std::string trace = OwnTrace();
      EXPECT_THAT(trace, ::testing::ContainsRegex("weft_goroutine_main\n[^\n]* weft_gostart\n$"));
    });
  }
  group.Wait();
}

struct SystemStackFrames {
  std::vector<std::string> frames;
  std::string trace;
  bool on_g0 = false;
};

// A commit with nobody to switch to runs on the system stack.
WEFT_TEST(Unwind, FromTheSystemStackEndsAtItsBase) {
  if (!HaveNames()) GTEST_SKIP() << "no symbols: qemu-user's /proc/self/maps is not the kernel's";
  if (procs() != 1) GTEST_SKIP() << "another goroutine may be at hand";
  SystemStackFrames seen;
  weft::Park(
      [](weft::Goroutine*, void* arg) {
        SystemStackFrames* s = static_cast<SystemStackFrames*>(arg);
        s->on_g0 = weft::runtime::GetM()->curg == &weft::runtime::GetM()->g0;
        s->frames = Frames();
        s->trace = OwnTrace();
        return false;
      },
      &seen, weft::WaitReason::kUser);
  ASSERT_TRUE(seen.on_g0);
  ASSERT_FALSE(seen.frames.empty());
  EXPECT_EQ(seen.frames.back(), "weft_g0_base");
  EXPECT_THAT(seen.trace, ::testing::ContainsRegex(" weft_g0_base\n$"));
}

// Two goroutines that switch to each other. One has floating-point modes of its own, so that every
// switch loads them: that way has instructions of its own.
WEFT_TEST(Switch, ForTheDebugger) {
  WaitGroup group;
  for (int w = 0; w < 2; w++) {
    group.Go([w] {
      ASSERT_EQ(std::fesetround(w == 0 ? FE_TONEAREST : FE_UPWARD), 0);
      for (int i = 0; i < 8; i++) switch_test::CallsStopsHere(i);
    });
  }
  group.Wait();
}

}  // namespace
