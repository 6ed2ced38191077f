// The run queue by itself: nothing lost, nothing doubled, never empty while something is in it.
// Ported in meaning from Go's tests of its local queue.
#include "runtime/runq.h"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <thread>
#include <vector>

#include "tests/fixture.h"

namespace {

using weft::runtime::G;
using weft::runtime::GQueue;
using weft::runtime::RunQueue;

template <class Queue>
class RunQueueTest : public ::testing::Test {};

template <uint32_t kSize>
struct Sized {
  static constexpr uint32_t kCapacity = kSize;
  using Queue = RunQueue<kSize>;
};
using Capacities = ::testing::Types<Sized<4>, Sized<256>>;
TYPED_TEST_SUITE(RunQueueTest, Capacities);

template <class Queue>
void Push(Queue& queue, G* g) {
  GQueue overflow;
  queue.Push(g, &overflow);
  ASSERT_TRUE(overflow.empty());
}

template <class Queue>
G* Pop(Queue& queue) {
  bool inherits = false;
  return queue.Pop(&inherits);
}

// Go's TestSchedLocalQueue.
TYPED_TEST(RunQueueTest, GivesBackInOrderWhatWasPushed) {
  typename TypeParam::Queue queue;
  std::vector<G> gs(TypeParam::kCapacity);
  for (uint32_t n = 0; n <= TypeParam::kCapacity; n++) {
    ASSERT_EQ(Pop(queue), nullptr);
    ASSERT_TRUE(queue.Empty());
    for (uint32_t i = 0; i < n; i++) Push(queue, &gs[i]);
    ASSERT_EQ(queue.Size(), n);
    ASSERT_EQ(queue.Empty(), n == 0);
    for (uint32_t i = 0; i < n; i++) ASSERT_EQ(Pop(queue), &gs[i]);
  }
  EXPECT_EQ(Pop(queue), nullptr);
}

// Go's TestSchedLocalQueueSteal.
TYPED_TEST(RunQueueTest, AThiefTakesHalfAndNothingIsLost) {
  typename TypeParam::Queue queue;
  std::vector<G> gs(TypeParam::kCapacity);
  for (uint32_t n = 0; n <= TypeParam::kCapacity; n++) {
    std::vector<int> seen(n);
    for (uint32_t i = 0; i < n; i++) Push(queue, &gs[i]);
    G* batch[TypeParam::kCapacity / 2];
    const uint32_t stolen = queue.Steal(batch, false);
    EXPECT_EQ(stolen, n - n / 2) << "of " << n;
    for (uint32_t i = 0; i < stolen; i++) {
      EXPECT_EQ(batch[i], &gs[i]) << "the oldest";
      seen[static_cast<size_t>(batch[i] - gs.data())]++;
    }
    while (G* g = Pop(queue)) seen[static_cast<size_t>(g - gs.data())]++;
    EXPECT_THAT(seen, ::testing::Each(1));
  }
}

TYPED_TEST(RunQueueTest, TheNextOneGoesFirstAndInheritsTheSlice) {
  typename TypeParam::Queue queue;
  G a, b, c;
  Push(queue, &a);
  EXPECT_EQ(queue.PutNext(&b), nullptr);
  EXPECT_EQ(queue.PutNext(&c), &b) << "who was to be next is given back";
  EXPECT_EQ(queue.Size(), 2u);
  bool inherits = false;
  EXPECT_EQ(queue.Pop(&inherits), &c);
  EXPECT_TRUE(inherits);
  EXPECT_EQ(queue.Pop(&inherits), &a);
  EXPECT_FALSE(inherits);
  EXPECT_EQ(queue.Pop(&inherits), nullptr);
  EXPECT_FALSE(inherits);
}

TYPED_TEST(RunQueueTest, TheNextOneIsStolenLastAndOnRequest) {
  typename TypeParam::Queue queue;
  G a, b;
  G* batch[TypeParam::kCapacity / 2];
  queue.PutNext(&b);
  EXPECT_EQ(queue.Steal(batch, false), 0u);
  Push(queue, &a);
  ASSERT_EQ(queue.Steal(batch, true), 1u);
  EXPECT_EQ(batch[0], &a) << "what is in the ring comes first";
  EXPECT_FALSE(queue.Empty());
  ASSERT_EQ(queue.Steal(batch, true), 1u);
  EXPECT_EQ(batch[0], &b);
  EXPECT_TRUE(queue.Empty());
}

TYPED_TEST(RunQueueTest, AFullOneSpillsItsOlderHalf) {
  typename TypeParam::Queue queue;
  constexpr uint32_t kCapacity = TypeParam::kCapacity;
  std::vector<G> gs(kCapacity + 1);
  for (uint32_t i = 0; i < kCapacity; i++) Push(queue, &gs[i]);
  GQueue overflow;
  queue.Push(&gs[kCapacity], &overflow);
  EXPECT_EQ(overflow.size(), static_cast<int32_t>(kCapacity / 2 + 1));
  for (uint32_t i = 0; i < kCapacity / 2; i++) ASSERT_EQ(overflow.PopFront(), &gs[i]);
  EXPECT_EQ(overflow.PopFront(), &gs[kCapacity]) << "the new one goes with them";
  for (uint32_t i = kCapacity / 2; i < kCapacity; i++) ASSERT_EQ(Pop(queue), &gs[i]);
}

// Go's TestSchedLocalQueueEmpty: a queue that one goroutine is always in is never seen empty, in
// whichever of its two places the goroutines are.
TYPED_TEST(RunQueueTest, IsNeverSeenEmptyWhileOneIsIn) {
  constexpr int kRounds = 20'000;
  typename TypeParam::Queue queue;
  G gs[2];
  std::atomic<int> begin = -1, looked = -1;
  int empty = 0;
  auto put = [&](G* g, bool next) {
    if (!next) {
      Push(queue, g);
    } else if (G* kicked = queue.PutNext(g); kicked != nullptr) {
      Push(queue, kicked);
    }
  };
  std::thread looker([&] {
    for (int i = 0; i < kRounds; i++) {
      while (begin != i) std::this_thread::yield();
      empty += queue.Empty();
      looked = i;
    }
  });
  for (int i = 0; i < kRounds; i++) {
    put(&gs[0], i % 2 == 0);
    begin = i;
    for (int spins = i % 50; spins > 0; spins--) (void)queue.Size();
    put(&gs[1], i % 4 < 2);
    ASSERT_NE(Pop(queue), nullptr);
    while (looked != i) std::this_thread::yield();
    ASSERT_NE(Pop(queue), nullptr);
    ASSERT_EQ(Pop(queue), nullptr);
  }
  looker.join();
  EXPECT_EQ(empty, 0);
}

// One owner and three thieves: each goroutine that goes in comes out once. With a capacity of 4
// the indices meet in every way.
TYPED_TEST(RunQueueTest, OwnerAndThievesShareWithoutLossOrDoubles) {
  constexpr size_t kGs = 50'000;
  typename TypeParam::Queue queue;
  std::vector<G> gs(kGs);
  std::vector<std::atomic<int>> seen(kGs);
  auto see = [&](G* g) { seen[static_cast<size_t>(g - gs.data())]++; };
  std::atomic<bool> done = false;
  std::vector<std::thread> thieves;
  for (int t = 0; t < 3; t++) {
    thieves.emplace_back([&, t] {
      G* batch[TypeParam::kCapacity / 2];
      while (!done) {
        const uint32_t n = queue.Steal(batch, t == 0);
        for (uint32_t i = 0; i < n; i++) see(batch[i]);
        if (n == 0) std::this_thread::yield();
      }
    });
  }
  for (size_t i = 0; i < kGs; i++) {
    if (i % 3 == 0) {
      if (G* kicked = queue.PutNext(&gs[i]); kicked != nullptr) see(kicked);
    } else {
      GQueue overflow;
      queue.Push(&gs[i], &overflow);
      while (G* g = overflow.PopFront()) see(g);
    }
    if (i % 5 == 0) {
      if (G* g = Pop(queue); g != nullptr) see(g);
    }
  }
  while (G* g = Pop(queue)) see(g);
  done = true;
  for (std::thread& thief : thieves) thief.join();
  for (size_t i = 0; i < kGs; i++) ASSERT_EQ(seen[i], 1) << "goroutine " << i;
  EXPECT_TRUE(queue.Empty());
}

}  // namespace
