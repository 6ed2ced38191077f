// Files.
//
// Operations go through one io_uring that a thread of its own owns; the goroutine is parked
// meanwhile and keeps no thread. Where io_uring is refused or not wanted (WEFT_NETPOLL=epoll),
// they are made by Blocking(fn) on the goroutine's thread.
//
// The kernel works in the caller's buffer until the operation is complete, so that an operation
// under way is not cut short: `ctx` is looked at before each system call is begun.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/context.h"

namespace weft {

namespace internal {
struct FileState;
void RefFile(FileState* file);
void UnrefFile(FileState* file);  // closes the file with the last reference
}  // namespace internal

struct FileOptions {
  bool read = true;
  bool write = false;
  bool create = false;     // make it if it is not there (needs `write`)
  bool exclusive = false;  // with `create`: kAlreadyExists if it is there
  bool truncate = false;   // cut it to 0 bytes (needs `write`)
  uint32_t mode = 0666;    // permission bits of a file that is made, before the umask
};

// An open file: a counted handle, copies name the same file, which is closed with the last of
// them or by Close. Any goroutine and any plain thread may call its members while a runtime runs,
// any number at once.
//
// Errors name the operation, the path and the cause: "read /etc/shadow: Permission denied".
// Codes: kCancelled after Close, when `ctx` was cancelled and when the runtime ends meanwhile or
// none runs; kDeadlineExceeded by `ctx`, kFailedPrecondition on a handle without a file, else errno
// by absl::ErrnoToStatusCode.
class File {
 public:
  // No file.
  File() = default;
  File(const File& other);
  File(File&& other) noexcept;
  File& operator=(File other) noexcept;
  ~File();

  // Open opens or makes the file at `path`. kInvalidArgument when `path` holds a 0 byte or the
  // options contradict each other.
  [[nodiscard]] static absl::StatusOr<File> Open(std::string_view path,
                                                 const FileOptions& options = {},
                                                 const Context& ctx = Context::Current());

  // ReadAt reads from byte `offset` on until `buffer` is full or the file ends; fewer bytes than
  // asked for mean that it ended there. kInvalidArgument when `offset` plus the buffer's size is
  // beyond INT64_MAX.
  [[nodiscard]] absl::StatusOr<size_t> ReadAt(std::span<char> buffer, uint64_t offset,
                                              const Context& ctx = Context::Current());

  // WriteAt writes all of `data` at byte `offset`. After an error some of it may be written.
  // kInvalidArgument as for ReadAt.
  [[nodiscard]] absl::Status WriteAt(std::string_view data, uint64_t offset,
                                     const Context& ctx = Context::Current());

  // Sync waits until what was written is on the device (fsync).
  [[nodiscard]] absl::Status Sync(const Context& ctx = Context::Current());

  // Close makes every later call fail with kCancelled. The descriptor is closed when the last
  // operation under way has left; if that is this call, its error is close(2)'s.
  // kCancelled: it was closed before.
  absl::Status Close();

  explicit operator bool() const { return state_ != nullptr; }

 private:
  explicit File(internal::FileState* state) : state_(state) {}

  internal::FileState* state_ = nullptr;
};

}  // namespace weft
