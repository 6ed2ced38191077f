// Go: from plain threads, in numbers, with stacks and closures of every size.
#include "weft/go.h"

#include <atomic>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "runtime/os/memory.h"
#include "runtime/sanitizer.h"
#include "tests/emulated.h"
#include "tests/fixture.h"
#include "weft/chan.h"
#include "weft/runtime.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace {

using weft::Chan;
using weft::WaitGroup;

#ifdef WEFT_TSAN
int Many() {
  return 5000;  // TSan has room for 8,000 fibers
}
#else
// Where a guard is a mapping of its own the kernel's default is 65,530 of them, two each.
int Many() {
  return weft::os::GuardsAreCheap() ? 100'000 : 20'000;
}
#endif

WEFT_TEST(Go, WorksFromPlainThreads) {
  std::atomic<int> ran = 0;
  WaitGroup group;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; i++) {
        group.Go([&] {
          EXPECT_NE(weft::GoroutineId(), 0u);
          ran++;
        });
      }
      EXPECT_EQ(weft::GoroutineId(), 0u);
    });
  }
  weft::Blocking([&] {
    for (std::thread& thread : threads) thread.join();
  });
  group.Wait();
  EXPECT_EQ(ran, 2000);
}

WEFT_TEST(Go, ManyParkAndAreReleased) {
  Chan<bool> gate;
  std::atomic<int> parked = 0;
  WaitGroup group;
  const int many = weft::testing::Rounds(Many());
  for (int i = 0; i < many; i++) {
    group.Go([&] {
      parked++;
      EXPECT_EQ(gate.Receive(), std::nullopt);
    });
  }
  while (parked < many) weft::Yield();
  EXPECT_EQ(weft::NumGoroutine(), many + 1);
  gate.Close();
  group.Wait();
}

WEFT_TEST(Go, NumbersAreUnique) {
  Chan<uint64_t> ids(1000);
  WaitGroup group;
  for (int i = 0; i < 1000; i++) {
    group.Go([&] { ASSERT_TRUE(ids.Send(weft::GoroutineId())); });
  }
  group.Wait();
  ids.Close();
  std::set<uint64_t> seen;
  for (uint64_t id : ids) EXPECT_TRUE(seen.insert(id).second) << id;
  EXPECT_EQ(seen.size(), 1000u);
}

// Touches the stack down to `lowest`, in frames of 1 KiB and a little.
[[gnu::noinline]] int UseStackTo(uintptr_t lowest) {
  volatile char frame[1024];
  memset(const_cast<char*>(frame), static_cast<int>(lowest & 0x7f), sizeof(frame));
  if (reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) <= lowest) return frame[5];
  const int below = UseStackTo(lowest);
  return below + frame[7];
}

int UseStack(size_t bytes) {
  return UseStackTo(reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) - bytes);
}

WEFT_TEST(Go, AGoroutineHasTheStackThatItAskedFor) {
  WaitGroup group;
  struct Case {
    size_t size, use;
  };
  for (Case c : {Case{0, 150 << 10}, Case{64 << 10, 40 << 10}, Case{1 << 20, 800 << 10},
                 Case{32 << 20, 25 << 20}}) {
    for (int i = 0; i < 3; i++) {
      group.Add(1);
      weft::Go(weft::GoOptions{.stack_size = c.size}, [&group, c] {
        UseStack(c.use);
        weft::Yield();
        UseStack(c.use);
        group.Done();
      });
    }
  }
  group.Wait();
}

WEFT_TEST(Go, LargeClosuresAreKeptWhole) {
  WaitGroup group;
  struct Large {
    char bytes[5000];
  } large;
  memset(large.bytes, 'x', sizeof(large.bytes));
  for (int i = 0; i < 100; i++) {
    group.Go([large] { EXPECT_EQ(std::string(large.bytes, 5000), std::string(5000, 'x')); });
  }
  group.Wait();
}

}  // namespace
