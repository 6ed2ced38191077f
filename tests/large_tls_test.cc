// A program with thread_locals larger than the stacks of weft's threads: libc takes their place out
// of the stack that a thread is started with.
#include <cstring>
#include <semaphore>

#include "runtime/os/thread.h"
#include "tests/fixture.h"
#include "weft/go.h"
#include "weft/waitgroup.h"

namespace {

constexpr size_t kBytes = size_t{600} << 10;
thread_local char large[kBytes];

void TouchAll() {
  char* volatile all = large;
  memset(all, 1, kBytes);
}

WEFT_TEST(LargeThreadLocals, AreOfEveryThread) {
  weft::WaitGroup group;
  for (int i = 0; i < 16; i++) {
    group.Go([] {
      TouchAll();
      weft::Blocking(TouchAll);  // which takes more threads
    });
  }
  group.Wait();
}

TEST(LargeThreadLocals, LeaveAThreadTheStackThatWasAskedFor) {
  constexpr size_t kStack = size_t{256} << 10;
  std::binary_semaphore done(0);
  const int error = weft::os::StartThread(
      "test", kStack,
      [](void* arg) {
        volatile char frame[kStack - (size_t{16} << 10)];
        memset(const_cast<char*>(frame), 1, sizeof(frame));
        EXPECT_EQ(frame[sizeof(frame) / 2], 1);
        TouchAll();
        static_cast<std::binary_semaphore*>(arg)->release();
      },
      &done);
  ASSERT_EQ(error, 0);
  done.acquire();
}

}  // namespace
