// Streams: what a connection handler reads from and writes to.
//
// A handler takes an io::Stream& and does not know what is behind it: a TCP connection
// (net::Conn), TLS, a simulator's connection, a fuzzer's input.
//
// Bytes going out are a std::string_view, bytes coming in fill a std::span<char>. Every call
// blocks the goroutine (on a plain thread: the thread) until it is done, its deadline passes, or
// `ctx` is done; the default `ctx` is the goroutine's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weft/context.h"

namespace weft::io {

// A piece of input in a pooled buffer, which goes back to the pool when the Chunk dies. Move-only.
// One goroutine at a time may use it; any thread may destroy it.
class Chunk {
 public:
  // No buffer, no bytes: what Receive gives at the end of a stream.
  Chunk() = default;
  Chunk(Chunk&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)) {}
  Chunk& operator=(Chunk&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;
  ~Chunk() {
    if (data_ != nullptr) GiveBack(data_, capacity_);
  }

  // An empty Chunk with room for at least `bytes`, for those who implement Stream. Rounded up to
  // a power of two from 4 KiB; beyond kMaxPooled the buffer is not pooled. At most 2 GiB.
  [[nodiscard]] static Chunk WithCapacity(size_t bytes);
  static constexpr size_t kMinPooled = size_t{4} << 10;
  static constexpr size_t kMaxPooled = size_t{64} << 10;

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  char* data() { return data_; }
  const char* data() const { return data_; }
  std::string_view view() const { return {data_, size_}; }
  operator std::string_view() const { return view(); }  // NOLINT(google-explicit-constructor)

  // How many of the buffer's bytes count. `size` <= capacity(): checked.
  void set_size(size_t size);

 private:
  Chunk(char* data, uint32_t capacity) : data_(data), capacity_(capacity) {}
  static void GiveBack(char* data, uint32_t capacity);

  char* data_ = nullptr;
  uint32_t size_ = 0;
  uint32_t capacity_ = 0;
};

// A full-duplex stream of bytes.
//
// Goroutines: one may read while another writes; an implementation says whether more may.
// Errors, for every call: kCancelled when the stream was closed on this side or `ctx` was
// cancelled; kDeadlineExceeded when a deadline of the stream or of `ctx` passed; others by the
// implementation. After an error of a write it is unknown how much the peer will get.
class Stream {
 public:
  virtual ~Stream() = default;

  // Read waits for input and takes what there is, up to `buffer.size()` bytes. 0: end of stream
  // (or an empty `buffer`).
  [[nodiscard]] virtual absl::StatusOr<size_t> Read(  // NOLINT(google-default-arguments)
      std::span<char> buffer, const Context& ctx = Context::Current()) = 0;

  // Receive waits for input and returns it in a pooled buffer, which is taken only when input is
  // there. An empty Chunk: end of stream.
  [[nodiscard]] virtual absl::StatusOr<Chunk> Receive(  // NOLINT(google-default-arguments)
      const Context& ctx = Context::Current()) = 0;

  // Write waits for room and writes what fits: at least one byte of `data`, unless it is empty.
  [[nodiscard]] virtual absl::StatusOr<size_t> Write(  // NOLINT(google-default-arguments)
      std::string_view data, const Context& ctx = Context::Current()) = 0;

  // WriteAll writes all of `data`. No other goroutine's output comes between its bytes.
  [[nodiscard]] virtual absl::Status WriteAll(  // NOLINT(google-default-arguments)
      std::string_view data, const Context& ctx = Context::Current()) = 0;

  // Writev writes all of `parts`, in order, as WriteAll would write them joined.
  [[nodiscard]] virtual absl::Status Writev(  // NOLINT(google-default-arguments)
      std::span<const std::string_view> parts, const Context& ctx = Context::Current()) = 0;

  // CloseWrite tells the peer that nothing more comes (it reads end of stream); reading goes on.
  [[nodiscard]] virtual absl::Status CloseWrite() = 0;

  // Close ends the stream and wakes every goroutine that waits in it: their calls, and all later
  // ones, fail with kCancelled. False: it was closed before. Any thread; does not block.
  virtual bool Close() = 0;

  // From `when` on, reads (writes) fail with kDeadlineExceeded, until another deadline is set. So
  // do those that wait, unless what they wait for is there. absl::InfiniteFuture(): none, as at
  // the beginning.
  // Any thread; does not block.
  virtual void SetReadDeadline(absl::Time when) = 0;
  virtual void SetWriteDeadline(absl::Time when) = 0;
  void SetDeadline(absl::Time when) {
    SetReadDeadline(when);
    SetWriteDeadline(when);
  }

 protected:
  Stream() = default;
  Stream(const Stream&) = default;
  Stream& operator=(const Stream&) = default;
};

// ReadFull reads until `buffer` is full. Beyond Read's errors: kOutOfRange when the stream ends
// before, with the number of bytes that came in its text.
[[nodiscard]] absl::Status ReadFull(Stream& stream, std::span<char> buffer,
                                    const Context& ctx = Context::Current());

}  // namespace weft::io
