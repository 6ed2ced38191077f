// The fixture itself: its bodies run where they should, and fatal errors can be expected.
#include "tests/fixture.h"

#include <cstdlib>

#include "weft/go.h"
#include "weft/waitgroup.h"

namespace {

WEFT_TEST(Fixture, BodyRunsOnAGoroutine) {
  EXPECT_NE(weft::GoroutineId(), 0u);
  EXPECT_EQ(weft::Stats().procs, procs());
}

WEFT_TEST_POLLERS(Fixture, BodyRunsOnThePollerAskedFor) {
  EXPECT_THAT(weft::NetpollName(), ::testing::StartsWith(netpoll()));
}

WEFT_TEST(Fixture, ExpectationsWorkOnEveryGoroutine) {
  weft::WaitGroup group;
  for (int i = 0; i < 100; i++) {
    group.Go([] {
      weft::Yield();
      EXPECT_NE(weft::GoroutineId(), 0u);
    });
  }
  group.Wait();
}

TEST(Fixture, FatalErrorsCanBeExpected) {
  EXPECT_FATAL(
      [] {
        weft::Yield();
        std::fprintf(stderr, "the end\n");
        std::abort();
      },
      "the end");
}

}  // namespace
