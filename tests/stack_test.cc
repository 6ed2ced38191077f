// Stacks: sizes, guards, reuse, and pages that go back to the kernel.
#include "runtime/stack.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "runtime/os/memory.h"
#include "tests/fixture.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/park.h"
#include "weft/waitgroup.h"

namespace {

using weft::runtime::kStackClasses;
using weft::runtime::SmallestStackClass;
using weft::runtime::Stack;
using weft::runtime::StackCache;
using weft::runtime::StackClassBytes;
using weft::runtime::StackClassOf;
using weft::runtime::StackGuardBytes;
using weft::runtime::StackPool;

// Its memory goes with it.
struct Pool : StackPool {
  ~Pool() { UnmapAll(); }
};

char* At(uintptr_t address) {
  return reinterpret_cast<char*>(address);
}

bool IsResident(uintptr_t address) {
  unsigned char resident = 0;
  const uintptr_t page = address & ~(weft::os::PageSize() - 1);
  EXPECT_EQ(mincore(At(page), weft::os::PageSize(), &resident), 0);
  return (resident & 1) != 0;
}

template <class F>
void WithoutCore(F fn) {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  fn();
}

TEST(StackPool, SizesArePowersOfTwo) {
  EXPECT_EQ(StackClassBytes(0), size_t{16} << 10);
  EXPECT_EQ(StackClassBytes(StackClassOf(256 << 10)), size_t{256} << 10);
  EXPECT_EQ(StackClassBytes(StackClassOf((256 << 10) + 1)), size_t{512} << 10);
  EXPECT_EQ(StackClassBytes(kStackClasses - 1), size_t{64} << 20);
  EXPECT_EQ(StackClassOf(size_t{64} << 20), kStackClasses - 1);
}

TEST(StackPool, TheSmallestSizeIsFourPages) {
  EXPECT_EQ(StackClassBytes(SmallestStackClass(4 << 10)), size_t{16} << 10);
  EXPECT_EQ(StackClassBytes(SmallestStackClass(16 << 10)), size_t{64} << 10);
  EXPECT_EQ(StackClassBytes(SmallestStackClass(64 << 10)), size_t{256} << 10);
  EXPECT_EQ(StackClassOf(1), SmallestStackClass(weft::os::PageSize()));
}

TEST(StackPool, ZeroIsTheDefaultSize) {
  EXPECT_EQ(StackClassBytes(StackClassOf(0)), size_t{256} << 10);
  weft::RuntimeOptions options;
  options.stack_size = 0;
  weft::Main(options, [] {
    weft::WaitGroup group;
    group.Go([] {
      const Stack stack = weft::Current()->stack;
      EXPECT_EQ(stack.hi - stack.lo, size_t{256} << 10);
    });
    group.Wait();
  });
}

TEST(StackPool, ASizeBeyondTheLargestIsFatal) {
  constexpr size_t kBeyond = (size_t{64} << 20) + 1;
  const std::string text =
      "a goroutine's stack of 67108865 bytes is asked for; 67108864 is the most";
  EXPECT_FATAL([] { weft::Go(weft::GoOptions{.stack_size = kBeyond}, [] {}); }, text);
  weft::RuntimeOptions options;
  options.stack_size = kBeyond;
  EXPECT_FATAL_WITH(
      options, [] {}, text);
}

TEST(StackPool, StacksOfAllSizesAreWholeAndApart) {
  Pool pool;
  std::vector<Stack> stacks;
  for (int size_class = 0; size_class < kStackClasses; size_class++) {
    for (int i = 0; i < 3; i++) {
      Stack stack = pool.Allocate(size_class);
      ASSERT_EQ(stack.hi - stack.lo, StackClassBytes(size_class));
      ASSERT_EQ(stack.lo % weft::os::PageSize(), 0u);
      *At(stack.lo) = 'a';
      *At(stack.hi - 1) = 'z';
      stacks.push_back(stack);
    }
  }
  std::sort(stacks.begin(), stacks.end(), [](Stack a, Stack b) { return a.lo < b.lo; });
  for (size_t i = 0; i + 1 < stacks.size(); i++) ASSERT_LE(stacks[i].hi, stacks[i + 1].lo);
}

TEST(StackPool, KnowsItsOwnAddresses) {
  Pool pool;
  int here = 0;
  EXPECT_FALSE(pool.IsArenaAddress(reinterpret_cast<uintptr_t>(&here)));
  Stack stack = pool.Allocate(4);
  EXPECT_TRUE(pool.IsArenaAddress(stack.lo));
  EXPECT_TRUE(pool.IsArenaAddress(stack.hi - 1));
  EXPECT_FALSE(pool.IsArenaAddress(reinterpret_cast<uintptr_t>(&here)));
}

TEST(StackPool, TheLowestStackHasAnApronBelow) {
  Pool pool;
  for (int size_class : {0, 4, kStackClasses - 1}) {
    const Stack stack = pool.Allocate(size_class);
    const size_t apron = std::max(stack.hi - stack.lo, size_t{1} << 20);
    EXPECT_TRUE(pool.IsOverflow(stack, stack.lo - 1));
    EXPECT_TRUE(pool.IsOverflow(stack, stack.lo - apron));
    EXPECT_FALSE(pool.IsOverflow(stack, stack.lo - apron - 1));
    EXPECT_FALSE(pool.IsOverflow(stack, stack.hi - 1));
  }
}

TEST(StackDeath, TheApronFaults) {
  EXPECT_EXIT(WithoutCore([] {
                StackPool pool;
                *At(pool.Allocate(0).lo - 40'000) = 1;
              }),
              ::testing::KilledBySignal(SIGSEGV), "");
}

void TouchGuard(int size_class, bool reused, size_t below) {
  StackPool pool;
  Stack stack = pool.Allocate(size_class);
  if (reused) {
    memset(At(stack.lo), 1, weft::os::PageSize());
    pool.Free(stack, size_class);
    stack = pool.Allocate(size_class);
  }
  *At(stack.lo - below) = 1;
}

TEST(StackDeath, TheGuardFaults) {
  for (int size_class : {0, StackClassOf(128 << 10), kStackClasses - 1}) {
    const size_t guard = StackGuardBytes(size_class);
    for (bool reused : {false, true}) {
      for (size_t below : {size_t{1}, guard / 2, guard}) {
        EXPECT_EXIT(WithoutCore([=] { TouchGuard(size_class, reused, below); }),
                    ::testing::KilledBySignal(SIGSEGV), "")
            << "class " << size_class << " " << below << " below it";
      }
    }
  }
}

// A neighbour lies below: a buffer that a C library has on its stack may not reach it.
TEST(StackPool, GuardsAreLargerThanOrdinaryFrames) {
  Pool pool;
  EXPECT_EQ(StackGuardBytes(StackClassOf(64 << 10)), weft::os::PageSize());
  for (size_t bytes : {size_t{128} << 10, size_t{256} << 10, size_t{64} << 20}) {
    const int size_class = StackClassOf(bytes);
    EXPECT_EQ(StackGuardBytes(size_class), size_t{64} << 10);
    const Stack low = pool.Allocate(size_class);
    const Stack high = pool.Allocate(size_class);
    EXPECT_EQ(high.lo - low.hi, size_t{64} << 10);
  }
}

TEST(StackPool, TheOneGivenBackLastIsTheNext) {
  Pool pool;
  Stack a = pool.Allocate(2);
  Stack b = pool.Allocate(2);
  pool.Free(a, 2);
  pool.Free(b, 2);
  EXPECT_EQ(pool.Allocate(2).lo, b.lo);
  EXPECT_NE(pool.Allocate(3).lo, a.lo) << "of another size";
  EXPECT_EQ(pool.Allocate(2).lo, a.lo);
}

TEST(StackPool, ACacheIsFilledAndEmptiedInBatches) {
  Pool pool;
  StackCache cache;
  pool.Refill(&cache, 4);
  EXPECT_EQ(cache.size(), 1) << "fresh ones are cut one at a time";
  std::vector<Stack> stacks(100);
  for (Stack& stack : stacks) stack = pool.Allocate(4);
  for (Stack& stack : stacks) pool.Free(stack, 4);
  for (Stack taken; cache.Pop(&taken);) {
  }
  pool.Refill(&cache, 4);
  EXPECT_EQ(cache.size(), StackCache::kCapacity / 2);
  Stack first;
  ASSERT_TRUE(cache.Pop(&first));
  pool.Drain(&cache, 4, 10);
  EXPECT_EQ(cache.size(), 10);
  pool.Drain(&cache, 4, 0);
  EXPECT_EQ(cache.size(), 0);
  EXPECT_FALSE(cache.Pop(&first));
}

// Beyond a number of free stacks their memory is given back; the guard stays, the stack can be
// used again and is zero where it was released.
TEST(StackPool, PagesBeyondTheKeepLimitAreReleased) {
  constexpr int kKept = 4096;  // kKeepPages of runtime/stack.cc
  constexpr int kMore = 20;
  Pool pool;
  std::vector<Stack> stacks(kKept + kMore);
  const size_t page = weft::os::PageSize();
  for (Stack& stack : stacks) {
    stack = pool.Allocate(0);
    memset(At(stack.hi - 2 * page), 7, 2 * page);
  }
  for (Stack& stack : stacks) pool.Free(stack, 0);
  EXPECT_TRUE(IsResident(stacks[0].hi - 2 * page)) << "kept for reuse";
  EXPECT_TRUE(IsResident(stacks[kKept - 1].hi - 2 * page));
  for (size_t i = kKept; i < stacks.size(); i++) {
    EXPECT_FALSE(IsResident(stacks[i].hi - 2 * page)) << "stack " << i;
  }
  const Stack again = pool.Allocate(0);
  EXPECT_EQ(again.lo, stacks.back().lo);
  EXPECT_EQ(*At(again.hi - 2 * page), 0);
  *At(again.lo) = 1;
}

TEST(StackPool, IsAsNewAfterUnmapAll) {
  Pool pool;
  const Stack stack = pool.Allocate(1);
  pool.Free(stack, 1);
  pool.UnmapAll();
  EXPECT_FALSE(pool.IsArenaAddress(stack.lo));
  const Stack again = pool.Allocate(1);
  *At(again.hi - 1) = 1;
}

// ---- In the runtime. ----

// Address of something on the calling goroutine's stack, to compare.
[[gnu::noinline]] uintptr_t Here() {
  return reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
}

WEFT_TEST(Stacks, OfEndedGoroutinesAreUsedAgain) {
  if (procs() != 1) GTEST_SKIP() << "each P has its cache";
  std::vector<uintptr_t> seen;
  for (int i = 0; i < 100; i++) {
    weft::WaitGroup group;
    group.Go([&] { seen.push_back(Here() >> 18); });
    group.Wait();
  }
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  EXPECT_LE(seen.size(), 2u) << "one after the other they need one stack, or two";
}

WEFT_TEST(Stacks, OfABurstDoNotAddUp) {
  weft::Chan<int> gate;
  std::vector<size_t> runtime_bytes;
  for (int round = 0; round < 5; round++) {
    weft::WaitGroup group;
    weft::Chan<int> closed;
    for (int i = 0; i < 1000; i++) group.Go([closed]() mutable { (void)closed.Receive(); });
    weft::Yield();
    closed.Close();
    group.Wait();
    runtime_bytes.push_back(weft::Stats().runtime_bytes);
  }
  EXPECT_LE(runtime_bytes.back(), runtime_bytes[1] + (size_t{1} << 20));
}

// Disabled: nothing calls StackPool::AddInUse, so the counter is always 0.
WEFT_TEST(Stacks, InUseAreCounted) {
  const size_t before = weft::Stats().stack_bytes;
  EXPECT_GT(before, 0u) << "this goroutine has one";
  weft::Chan<int> gate;
  weft::WaitGroup group;
  std::atomic<int> parked = 0;
  for (int i = 0; i < 10; i++) {
    group.Go([&] {
      parked++;
      (void)gate.Receive();
    });
  }
  while (parked < 10) weft::Yield();
  EXPECT_GE(weft::Stats().stack_bytes, before + 10 * (size_t{256} << 10));
  gate.Close();
  group.Wait();
}

}  // namespace
