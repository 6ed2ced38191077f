#include "weft/file.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "net/error.h"
#include "net/fd_mutex.h"
#include "netpoll/file_ring.h"
#include "runtime/os/socket.h"

namespace weft {

using net::internal::kClosed;
using net::internal::kContextDone;
using net::internal::Outcome;

namespace internal {

struct FileState {
  FileState(int descriptor, std::string name) : fd(descriptor), path(std::move(name)) {}

  net::internal::FdMutex mutex;  // by references alone: operations do not exclude each other
  os::Atomic<uint32_t> handles{1};
  const int fd;
  const std::string path;
};

void RefFile(FileState* file) {
  // The caller has a share already; nothing is handed on.
  file->handles.FetchAdd(1, os::kRelaxed<"file.ref">);
}

void UnrefFile(FileState* file) {
  // The last one sees what the others did through theirs.
  if (file->handles.FetchSub(1, os::kAcqRel<"file.unref">) != 1) return;
  // Operations run through handles: nobody is inside. Not through the ring: the runtime may have
  // ended.
  if (file->mutex.CloseIfIdle()) os::CloseFd(file->fd);
  delete file;
}

}  // namespace internal

using internal::FileState;

namespace {

// The kernel's offsets are signed; io_uring takes -1 for the descriptor's own position.
constexpr uint64_t kMaxOffset = INT64_MAX;
constexpr size_t kMaxPiece = size_t{1} << 30;  // the kernel does at most 2 GiB - 4 KiB at once

absl::Status FileError(std::string_view operation, std::string_view path, Outcome outcome,
                       const Context& ctx) {
  return net::internal::NamedError(operation, path, outcome, ctx, "file");
}

Outcome Run(const os::FileCall& call) {
  netpoll::FileRequest request{call};
  return netpoll::RunFileRequest(&request);
}

Outcome CloseNow(FileState* file) {
  os::FileCall call{os::FileOp::kClose};
  call.fd = file->fd;
  return Run(call);
}

// Being inside a file, so that its descriptor stays what it is.
class Inside {
 public:
  explicit Inside(FileState* file) : file_(file), entered_(file->mutex.Reference()) {}
  ~Inside() {
    if (entered_ && file_->mutex.Unreference()) CloseNow(file_);
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  bool entered() const { return entered_; }

 private:
  FileState* file_;
  bool entered_;
};

// Reads or writes until `size` bytes are done or a call does none: how many, or an error.
Outcome Transfer(FileState* file, os::FileOp op, char* data, size_t size, uint64_t offset,
                 const Context& ctx) {
  if (offset > kMaxOffset || size > kMaxOffset - offset) return -EINVAL;
  Inside inside(file);
  if (!inside.entered()) return kClosed;
  size_t done = 0;
  while (done < size) {
    if (ctx.IsDone()) return kContextDone;
    os::FileCall call{op};
    call.fd = file->fd;
    call.data = data + done;
    call.size = static_cast<uint32_t>(std::min(size - done, kMaxPiece));
    call.offset = offset + done;
    const Outcome n = Run(call);
    if (n == -EINTR) continue;
    if (n < 0) return n;
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return static_cast<Outcome>(done);
}

absl::Status NoFile(std::string_view operation) {
  return absl::FailedPreconditionError(std::string(operation).append(": no file"));
}

absl::Status CheckOptions(const FileOptions& options) {
  if (!options.read && !options.write) {
    return absl::InvalidArgumentError("open: neither to read nor to write");
  }
  if ((options.create || options.truncate) && !options.write) {
    return absl::InvalidArgumentError("open: create and truncate need write");
  }
  if (options.exclusive && !options.create) {
    return absl::InvalidArgumentError("open: exclusive needs create");
  }
  return absl::OkStatus();
}

}  // namespace

File::File(const File& other) : state_(other.state_) {
  if (state_ != nullptr) internal::RefFile(state_);
}
File::File(File&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
File& File::operator=(File other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}
File::~File() {
  if (state_ != nullptr) internal::UnrefFile(state_);
}

absl::StatusOr<File> File::Open(std::string_view path, const FileOptions& options,
                                const Context& ctx) {
  if (absl::Status valid = CheckOptions(options); !valid.ok()) return valid;
  if (path.find('\0') != std::string_view::npos) {
    return absl::InvalidArgumentError("open: the path holds a 0 byte");
  }
  if (ctx.IsDone()) return FileError("open", path, kContextDone, ctx);
  std::string name(path);
  os::FileCall call{os::FileOp::kOpen};
  call.path = name.c_str();
  call.open_flags = os::ToKernelFlags(
      {options.read, options.write, options.create, options.exclusive, options.truncate});
  call.open_mode = options.mode;
  Outcome fd = 0;
  do {
    fd = Run(call);
  } while (fd == -EINTR);
  if (fd < 0) return FileError("open", path, fd, ctx);
  return File(new FileState(static_cast<int>(fd), std::move(name)));
}

absl::StatusOr<size_t> File::ReadAt(std::span<char> buffer, uint64_t offset, const Context& ctx) {
  if (state_ == nullptr) return NoFile("read");
  const Outcome n = Transfer(state_, os::FileOp::kRead, buffer.data(), buffer.size(), offset, ctx);
  if (n < 0) return FileError("read", state_->path, n, ctx);
  return static_cast<size_t>(n);
}

absl::Status File::WriteAt(std::string_view data, uint64_t offset, const Context& ctx) {
  if (state_ == nullptr) return NoFile("write");
  // The kernel only reads from it.
  char* bytes = const_cast<char*>(data.data());
  Outcome n = Transfer(state_, os::FileOp::kWrite, bytes, data.size(), offset, ctx);
  if (n >= 0 && static_cast<size_t>(n) < data.size()) n = -EIO;
  if (n < 0) return FileError("write", state_->path, n, ctx);
  return absl::OkStatus();
}

absl::Status File::Sync(const Context& ctx) {
  if (state_ == nullptr) return NoFile("sync");
  if (ctx.IsDone()) return FileError("sync", state_->path, kContextDone, ctx);
  Inside inside(state_);
  if (!inside.entered()) return FileError("sync", state_->path, kClosed, ctx);
  os::FileCall call{os::FileOp::kSync};
  call.fd = state_->fd;
  Outcome outcome = 0;
  do {
    outcome = Run(call);
  } while (outcome == -EINTR);
  if (outcome < 0) return FileError("sync", state_->path, outcome, ctx);
  return absl::OkStatus();
}

absl::Status File::Close() {
  if (state_ == nullptr) return NoFile("close");
  const Context& ctx = Context::Background();
  if (!state_->mutex.Close()) return FileError("close", state_->path, kClosed, ctx);
  if (!state_->mutex.Unreference()) return absl::OkStatus();
  const Outcome outcome = CloseNow(state_);
  if (outcome < 0) return FileError("close", state_->path, outcome, ctx);
  return absl::OkStatus();
}

}  // namespace weft
