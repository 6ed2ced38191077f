#include "daemon/output.h"

#include <algorithm>

namespace examples {

namespace {
// Chosen: what batches of small replies seldom exceed; larger ones go out in several writes.
constexpr size_t kBatch = size_t{16} << 10;
}  // namespace

bool Output::Flush() {
  if (used_ > 0) Write({buffer_.data(), used_});
  used_ = 0;
  buffer_ = weft::io::Chunk();
  return !failed_;
}

void Output::Write(std::string_view bytes) {
  if (!failed_ && !stream_.WriteAll(bytes, ctx_).ok()) failed_ = true;
}

// A batch begins in the pool's smallest buffer, goes on in one of kBatch, and then goes out.
void Output::MakeRoom(size_t bytes) {
  if (used_ + bytes > kBatch) {
    if (used_ > 0) Write({buffer_.data(), used_});
    used_ = 0;
    if (buffer_.capacity() >= bytes) return;
  }
  const size_t wanted = buffer_.capacity() == 0 ? bytes : std::max(bytes, kBatch);
  weft::io::Chunk larger = weft::io::Chunk::WithCapacity(wanted);
  if (used_ > 0) std::memcpy(larger.data(), buffer_.data(), used_);
  buffer_ = std::move(larger);
}

void Output::AddLarge(std::string_view bytes) {
  if (used_ > 0) Write({buffer_.data(), used_});
  used_ = 0;
  Write(bytes);
}

}  // namespace examples
