// Output: bytes on their way to a stream, gathered so that one system call sends many replies.
//
// The buffer is an io::Chunk: it comes from the pool when the first byte is added and goes back
// with Flush, so that an idle connection holds none and a busy one allocates nothing.
#pragma once

#include <cstddef>
#include <cstring>
#include <string_view>

#include "weft/context.h"
#include "weft/io.h"

namespace examples {

// Used by one goroutine. Errors stick: after one, what is added is dropped.
class Output {
 public:
  // Writes to `stream` are given up when `ctx` is done. Both must outlive it.
  Output(weft::io::Stream& stream, const weft::Context& ctx) : stream_(stream), ctx_(ctx) {}

  // Room for at least `bytes` more, to be filled from its beginning; Advance says how far. May
  // write out what is there before, and then blocks.
  char* Reserve(size_t bytes) {
    if (buffer_.capacity() - used_ < bytes) [[unlikely]]
      MakeRoom(bytes);
    return buffer_.data() + used_;
  }
  void Advance(size_t bytes) { used_ += bytes; }

  void Add(std::string_view bytes) {
    if (bytes.size() > kDirect) [[unlikely]] {
      AddLarge(bytes);
      return;
    }
    std::memcpy(Reserve(bytes.size()), bytes.data(), bytes.size());
    Advance(bytes.size());
  }

  // Writes out all that was added. False: the stream has failed. Blocks.
  bool Flush();
  bool failed() const { return failed_; }

 private:
  // Chosen: from here on a system call of its own costs less than the copy.
  static constexpr size_t kDirect = size_t{32} << 10;

  void MakeRoom(size_t bytes);
  void AddLarge(std::string_view bytes);
  void Write(std::string_view bytes);

  weft::io::Stream& stream_;
  const weft::Context& ctx_;
  weft::io::Chunk buffer_;
  size_t used_ = 0;
  bool failed_ = false;
};

}  // namespace examples
