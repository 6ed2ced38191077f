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
#include "tests/emulated.h"
#include "tests/fixture.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/park.h"
#include "weft/waitgroup.h"

namespace {

using weft::runtime::kDefaultStack;
using weft::runtime::kLargestStack;
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

TEST(StackPool, SizesArePowersOfTwoAndTheDefault) {
  EXPECT_EQ(StackClassBytes(0), size_t{16} << 10);
  EXPECT_EQ(StackClassBytes(StackClassOf(256 << 10)), size_t{256} << 10);
  EXPECT_EQ(StackClassBytes(StackClassOf((256 << 10) + 1)), size_t{512} << 10);
  EXPECT_EQ(StackClassBytes(StackClassOf(size_t{64} << 20)), size_t{64} << 20);
}

TEST(StackPool, TheSmallestSizeIsFourPages) {
  EXPECT_EQ(StackClassBytes(SmallestStackClass(4 << 10)), size_t{16} << 10);
  EXPECT_EQ(StackClassBytes(SmallestStackClass(16 << 10)), size_t{64} << 10);
  EXPECT_EQ(StackClassBytes(SmallestStackClass(64 << 10)), size_t{256} << 10);
  EXPECT_EQ(StackClassOf(1), SmallestStackClass(weft::os::PageSize()));
}

TEST(StackPool, ZeroIsTheDefaultSize) {
  EXPECT_EQ(StackClassBytes(StackClassOf(0)), size_t{192} << 10);
  EXPECT_EQ(StackClassOf(150 << 10), StackClassOf(0));
  EXPECT_EQ(StackClassBytes(StackClassOf(0)) + StackGuardBytes(StackClassOf(0)), size_t{256} << 10);
  weft::RuntimeOptions options;
  options.stack_size = 0;
  weft::Main(options, [] {
    weft::WaitGroup group;
    group.Go([] {
      const Stack stack = weft::Current()->stack;
      EXPECT_EQ(stack.hi - stack.lo, size_t{192} << 10);
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

// ---- Memory of free stacks. ----

// How much of `stacks` has memory.
size_t ResidentBytes(const std::vector<Stack>& stacks) {
  const size_t page = weft::os::PageSize();
  size_t resident = 0;
  std::vector<unsigned char> pages;
  for (const Stack& stack : stacks) {
    pages.resize((stack.hi - stack.lo) / page);
    EXPECT_EQ(mincore(At(stack.lo), stack.hi - stack.lo, pages.data()), 0);
    for (unsigned char flags : pages) resident += (flags & 1) != 0 ? page : 0;
  }
  return resident;
}

// As many stacks are used as deep as `touched`, and freed: what stays.
size_t ResidentAfterABurst(size_t stack_bytes, int count, size_t touched) {
  Pool pool;
  const int size_class = StackClassOf(stack_bytes);
  std::vector<Stack> stacks(count);
  for (Stack& stack : stacks) {
    stack = pool.Allocate(size_class);
    memset(At(stack.hi - touched), 7, touched);
  }
  EXPECT_GE(ResidentBytes(stacks), count * touched);
  for (Stack& stack : stacks) pool.Free(stack, size_class);
  return ResidentBytes(stacks);
}

TEST(StackPool, MemoryOfABurstIsGivenBack) {
  constexpr size_t kMiB = size_t{1} << 20;
  const size_t page = weft::os::PageSize();
  // What may stay, and a page each.
  EXPECT_LE(ResidentAfterABurst(64 * kMiB, 12, 16 * kMiB), 64 * kMiB + 12 * page);
  if (weft::testing::IsEmulated()) GTEST_SKIP() << "a minute of page faults";
  EXPECT_LE(ResidentAfterABurst(256 << 10, 2000, 200 << 10), 64 * kMiB + 2000 * page);
  EXPECT_LE(ResidentAfterABurst(16 << 10, 20'000, 12 << 10), 64 * kMiB + 20'000 * page);
}

TEST(StackPool, OfASmallBurstAllIsKept) {
  // Whole pages, those of 16 KiB too.
  EXPECT_EQ(ResidentAfterABurst(256 << 10, 200, 208 << 10), size_t{200} * (208 << 10));
  EXPECT_EQ(ResidentAfterABurst(256 << 10, 4000, 16 << 10), size_t{4000} * (16 << 10));
}

// One of 61 is measured.
TEST(StackPool, DeepStacksAmongShallowOnesAreGivenBackToo) {
  Pool pool;
  const int size_class = StackClassOf(256 << 10);
  std::vector<Stack> stacks(4000);
  for (size_t i = 0; i < stacks.size(); i++) {
    stacks[i] = pool.Allocate(size_class);
    const size_t touched = i % 4 == 0 ? 200 << 10 : 100;
    memset(At(stacks[i].hi - touched), 7, touched);
  }
  EXPECT_GE(ResidentBytes(stacks), size_t{1000} * (200 << 10));
  for (Stack& stack : stacks) pool.Free(stack, size_class);
  EXPECT_LE(ResidentBytes(stacks), (size_t{80} << 20) + stacks.size() * weft::os::PageSize());
}

// What one burst kept does not count for ever.
TEST(StackPool, StacksThatAreTakenAgainMayBeKeptAgain) {
  Pool pool;
  const int size_class = StackClassOf(256 << 10);
  std::vector<Stack> stacks(100);
  for (int round = 0; round < 20; round++) {
    for (Stack& stack : stacks) {
      stack = pool.Allocate(size_class);
      *At(stack.lo) = 1;
    }
    for (Stack& stack : stacks) pool.Free(stack, size_class);
    EXPECT_GE(ResidentBytes(stacks), stacks.size() * 2 * weft::os::PageSize()) << round;
  }
}

TEST(StackPool, AReleasedStackIsAsNew) {
  const int size_class = StackClassOf(kLargestStack);
  Pool pool;
  const Stack first = pool.Allocate(size_class);
  const Stack second = pool.Allocate(size_class);
  memset(At(first.lo), 7, StackClassBytes(size_class));
  memset(At(second.lo), 7, 1 << 20);
  pool.Free(first, size_class);
  pool.Free(second, size_class);
  EXPECT_FALSE(IsResident(second.lo));
  const Stack again = pool.Allocate(size_class);
  EXPECT_EQ(again.lo, second.lo);
  EXPECT_EQ(*At(again.lo), 0);
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
  EXPECT_GE(weft::Stats().stack_bytes, before + 10 * kDefaultStack);
  gate.Close();
  group.Wait();
}

}  // namespace
