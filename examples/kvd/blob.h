// Blob: bytes that never change, counted, in one allocation.
//
// Keys and values are blobs, so that a reply can be written from a value after its lock is given
// back, whatever becomes of the key meanwhile.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace kvd {

// A share in the bytes. One goroutine at a time uses one Blob; its copies are independent.
class Blob {
 public:
  // No bytes at all: what is not there.
  Blob() = default;
  explicit Blob(std::string_view bytes);  // at most 4 GiB
  Blob(const Blob& other) : block_(other.block_) {
    // The share that is copied keeps the bytes: nothing to order.
    if (block_ != nullptr) block_->shares.fetch_add(1, std::memory_order_relaxed);
  }
  Blob(Blob&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Blob& operator=(Blob other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Blob() {
    // Release: reads through this share come before the end; acquire: they do so for who frees.
    if (block_ != nullptr && block_->shares.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      Free(block_);
    }
  }

  explicit operator bool() const { return block_ != nullptr; }
  std::string_view view() const {
    if (block_ == nullptr) return {};
    return {reinterpret_cast<const char*>(block_ + 1), block_->size};
  }
  // Where the bytes are: tells blobs apart.
  const void* address() const { return block_; }

 private:
  struct Block {
    std::atomic<uint32_t> shares;
    uint32_t size;  // bytes behind this struct
  };
  static void Free(Block* block);

  Block* block_ = nullptr;
};

}  // namespace kvd
