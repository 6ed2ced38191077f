// The runtime's own memory.
#include "runtime/alloc.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "tests/fixture.h"

namespace {

using weft::runtime::Allocator;

struct Own : Allocator {
  ~Own() { UnmapAll(); }
};

constexpr size_t kSizes[] = {1,    15,   16,    17,     63,     64,      65,      100,     1000,
                             4096, 5000, 65536, 262144, 300000, 1 << 20, 3 << 20, 20 << 20};

TEST(Allocator, BlocksAreAlignedFreshAndApart) {
  Own alloc;
  std::vector<std::pair<uintptr_t, size_t>> blocks;
  for (size_t bytes : kSizes) {
    for (int i = 0; i < 3; i++) {
      char* p = static_cast<char*>(alloc.Allocate(bytes));
      const uintptr_t address = reinterpret_cast<uintptr_t>(p);
      EXPECT_EQ(address % (bytes >= 64 ? 64 : 16), 0u) << bytes << " bytes";
      EXPECT_EQ(std::count(p, p + bytes, 0), static_cast<ptrdiff_t>(bytes)) << "fresh ones are 0";
      memset(p, 0xab, bytes);
      blocks.emplace_back(address, bytes);
    }
  }
  std::sort(blocks.begin(), blocks.end());
  for (size_t i = 0; i + 1 < blocks.size(); i++) {
    ASSERT_LE(blocks[i].first + blocks[i].second, blocks[i + 1].first);
  }
}

TEST(Allocator, AFreedBlockIsTheNextOfItsSize) {
  Own alloc;
  for (size_t bytes : {size_t{1}, size_t{16}, size_t{100}, size_t{4096}, size_t{1} << 20}) {
    void* a = alloc.Allocate(bytes);
    void* b = alloc.Allocate(bytes);
    alloc.Free(a, bytes);
    alloc.Free(b, bytes);
    EXPECT_EQ(alloc.Allocate(bytes), b) << bytes << " bytes";
    EXPECT_EQ(alloc.Allocate(bytes), a) << bytes << " bytes";
  }
  void* small = alloc.Allocate(70);
  alloc.Free(small, 70);
  EXPECT_EQ(alloc.Allocate(128), small) << "sizes between two powers of two are one class";
  EXPECT_NE(alloc.Allocate(64), small);
}

TEST(Allocator, ReuseMapsNothingNew) {
  Own alloc;
  EXPECT_EQ(alloc.mapped_bytes(), 0u);
  std::vector<void*> blocks(1000);
  for (void*& p : blocks) p = alloc.Allocate(400);
  const size_t mapped = alloc.mapped_bytes();
  EXPECT_GE(mapped, size_t{1000} * 400);
  for (int round = 0; round < 10; round++) {
    for (void* p : blocks) alloc.Free(p, 400);
    for (void*& p : blocks) p = alloc.Allocate(400);
  }
  EXPECT_EQ(alloc.mapped_bytes(), mapped);
}

TEST(Allocator, NewConstructs) {
  struct Pair {
    int a, b;
    Pair(int x, int y) : a(x), b(y) {}
  };
  Own alloc;
  Pair* pair = alloc.New<Pair>(3, 4);
  EXPECT_EQ(pair->a, 3);
  EXPECT_EQ(pair->b, 4);
}

TEST(Allocator, UnmapAllGivesEverythingBack) {
  Own alloc;
  void* p = alloc.Allocate(500);
  alloc.Free(p, 500);
  (void)alloc.Allocate(size_t{30} << 20);
  alloc.UnmapAll();
  EXPECT_EQ(alloc.mapped_bytes(), 0u);
  char* again = static_cast<char*>(alloc.Allocate(500));
  EXPECT_EQ(again[499], 0);
  again[499] = 1;
}

TEST(Allocator, ThreadsShareIt) {
  Own alloc;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&alloc, t] {
      std::vector<std::pair<unsigned char*, size_t>> blocks;
      for (int i = 0; i < 5000; i++) {
        const size_t bytes = static_cast<size_t>(i * 7 % 700 + 1);
        unsigned char* p = static_cast<unsigned char*>(alloc.Allocate(bytes));
        memset(p, t, bytes);
        blocks.emplace_back(p, bytes);
        if (i % 3 == 0) {
          auto [old, size] = blocks[blocks.size() / 2];
          ASSERT_EQ(std::count(old, old + size, t), static_cast<ptrdiff_t>(size));
          blocks.erase(blocks.begin() + static_cast<ptrdiff_t>(blocks.size() / 2));
          alloc.Free(old, size);
        }
      }
      for (auto [p, size] : blocks) {
        ASSERT_EQ(std::count(p, p + size, t), static_cast<ptrdiff_t>(size));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
