// The fixture of weft's tests: a body that runs as the first goroutine of a runtime of its own,
// and that must leave everything as it was.
//
//     WEFT_TEST(Chan, CloseWakesEveryReceiver) {
//       weft::Chan<int> chan;
//       ...
//       ASSERT_TRUE(chan.Close());
//     }
//
// makes the tests Chan.CloseWakesEveryReceiver/1P, /2P and /8P. WEFT_TEST_POLLERS makes each of
// them for both netpollers: /io_uring_1P, /epoll_1P and so on; io_uring is skipped where the
// kernel refuses it. In the body `procs()` and `netpoll()` say which one runs.
//
// After the body the fixture waits (it yields, a bounded number of times) until goroutines,
// timers and registered descriptors are what they were before it and no P is busy; once the
// runtime has ended, threads and open descriptors of the process must be as before as well.
// A test that takes longer than a minute (five under TSan) is ended with a goroutine dump.
//
// ASSERT_* and EXPECT_* work on any goroutine and thread; ASSERT_* leaves the function that it is
// in. SCOPED_TRACE does not work: GoogleTest keeps it per thread.
#pragma once

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/runtime.h"

namespace weft::testing {

class RuntimeTest : public ::testing::Test {
 public:
  struct Setup {
    int procs;
    const char* netpoll;  // "" is the default
  };

  explicit RuntimeTest(const Setup& setup) : setup_(setup) {}

 protected:
  int procs() const { return setup_.procs; }
  std::string netpoll() const { return setup_.netpoll; }

  virtual void Body() = 0;

 private:
  void TestBody() final;
  void RunBody();

  Setup setup_;
};

// Registers Suite.Name/... for each number of Ps, and for each netpoller when `pollers`.
// `make` returns a new test object.
using MakeTest = RuntimeTest* (*)(const RuntimeTest::Setup& setup);
bool RegisterRuntimeTests(const char* suite, const char* name, bool pollers, const char* file,
                          int line, MakeTest make);

// The parts of EXPECT_FATAL: what runs in the forked process, and what its message must match.
int RunToDeath(const RuntimeOptions& options, void (*fn)(void*), void* arg);

template <class F, class R>
int RunFatal(const RuntimeOptions& options, F fn, const R&) {
  return RunToDeath(
      options, [](void* arg) { (*static_cast<F*>(arg))(); }, static_cast<void*>(&fn));
}
template <class F, class R>
R FatalRegex(const RuntimeOptions&, F, R regex) {
  return regex;
}

}  // namespace weft::testing

#define WEFT_TEST_IMPL(suite, name, pollers)                                                      \
  class suite##_##name##_Test : public ::weft::testing::RuntimeTest {                             \
   public:                                                                                        \
    using RuntimeTest::RuntimeTest;                                                               \
                                                                                                  \
   private:                                                                                       \
    void Body() override;                                                                         \
  };                                                                                              \
  [[maybe_unused]] static const bool suite##_##name##_registered =                                \
      ::weft::testing::RegisterRuntimeTests(                                                      \
          #suite, #name, pollers, __FILE__, __LINE__,                                             \
          [](const ::weft::testing::RuntimeTest::Setup& setup) -> ::weft::testing::RuntimeTest* { \
            return new suite##_##name##_Test(setup);                                              \
          });                                                                                     \
  void suite##_##name##_Test::Body()

#define WEFT_TEST(suite, name) WEFT_TEST_IMPL(suite, name, false)
#define WEFT_TEST_POLLERS(suite, name) WEFT_TEST_IMPL(suite, name, true)

// EXPECT_FATAL(fn, regex): `fn()` as the first goroutine of a runtime ends the process by SIGABRT
// with a message on stderr that matches `regex` (POSIX extended, or a matcher). For plain TEST()s,
// which run outside of a runtime: the process is forked. EXPECT_FATAL_WITH takes RuntimeOptions
// first.
//
//     TEST(Deadlock, IsFatal) {
//       EXPECT_FATAL([] { weft::Select(); }, "all goroutines are asleep - deadlock!");
//     }
#define EXPECT_FATAL(...) EXPECT_FATAL_WITH(::weft::RuntimeOptions{}, __VA_ARGS__)
#define EXPECT_FATAL_WITH(...)                                                            \
  EXPECT_EXIT(::weft::testing::RunFatal(__VA_ARGS__), ::testing::KilledBySignal(SIGABRT), \
              ::weft::testing::FatalRegex(__VA_ARGS__))
