// Files, by the ring and by Blocking.
#include "weft/file.h"

#include <stdlib.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/fixture.h"
#include "weft/go.h"
#include "weft/waitgroup.h"

namespace weft {
namespace {

// A directory that goes with all that is in it.
class TempDir {
 public:
  TempDir() : path_("/tmp/weft_file_test.XXXXXX") { EXPECT_NE(mkdtemp(path_.data()), nullptr); }
  ~TempDir() {
    for (const std::string& name : names_) unlink(name.c_str());
    rmdir(path_.c_str());
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string Name(const std::string& name) {
    names_.push_back(path_ + "/" + name);
    return names_.back();
  }

 private:
  std::string path_;
  std::vector<std::string> names_;
};

FileOptions ForWriting() {
  FileOptions options;
  options.write = true;
  options.create = true;
  return options;
}

WEFT_TEST_POLLERS(File, ReadsWhatWasWritten) {
  TempDir dir;
  absl::StatusOr<File> file = File::Open(dir.Name("a"), ForWriting());
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(file->WriteAt("hello, ", 0).ok());
  ASSERT_TRUE(file->WriteAt("world", 7).ok());
  ASSERT_TRUE(file->Sync().ok());
  char buffer[64];
  absl::StatusOr<size_t> n = file->ReadAt(buffer, 0);
  ASSERT_TRUE(n.ok()) << n.status();
  EXPECT_EQ(std::string_view(buffer, *n), "hello, world");
  n = file->ReadAt({buffer, 4}, 3);
  ASSERT_TRUE(n.ok());
  EXPECT_EQ(std::string_view(buffer, *n), "lo, ");
  n = file->ReadAt(buffer, 1000);
  ASSERT_TRUE(n.ok());
  EXPECT_EQ(*n, 0u);
  EXPECT_TRUE(file->Close().ok());
  EXPECT_TRUE(absl::IsCancelled(file->Close()));
  EXPECT_TRUE(absl::IsCancelled(file->Sync()));
  EXPECT_TRUE(absl::IsCancelled(file->ReadAt(buffer, 0).status()));
}

WEFT_TEST_POLLERS(File, CarriesManyOperationsAtOnce) {
  constexpr int kGoroutines = 600;  // more than the ring takes at once
  constexpr size_t kBytes = 5000;
  TempDir dir;
  absl::StatusOr<File> file = File::Open(dir.Name("many"), ForWriting());
  ASSERT_TRUE(file.ok()) << file.status();
  WaitGroup all;
  for (int i = 0; i < kGoroutines; i++) {
    all.Go([&, file = *file, i]() mutable {
      const std::string data(kBytes, static_cast<char>(i));
      const uint64_t offset = static_cast<uint64_t>(i) * kBytes;
      absl::Status written = file.WriteAt(data, offset);
      ASSERT_TRUE(written.ok()) << written;
      std::string back(kBytes, '\0');
      absl::StatusOr<size_t> n = file.ReadAt(back, offset);
      ASSERT_TRUE(n.ok()) << n.status();
      EXPECT_EQ(*n, kBytes);
      EXPECT_TRUE(back == data);
    });
  }
  all.Wait();
}

WEFT_TEST_POLLERS(File, ErrorsNameOperationPathAndCause) {
  absl::Status status = File::Open("/no/such/file").status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_EQ(status.message(), "open /no/such/file: No such file or directory");
  TempDir dir;
  const std::string name = dir.Name("once");
  FileOptions options = ForWriting();
  options.exclusive = true;
  ASSERT_TRUE(File::Open(name, options).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(File::Open(name, options).status()));
  absl::StatusOr<File> file = File::Open(name);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->WriteAt("x", 0).message(), "write " + name + ": Bad file descriptor");
  EXPECT_TRUE(absl::IsInvalidArgument(File::Open(std::string_view("a\0b", 3)).status()));
  options = {};
  options.create = true;
  EXPECT_TRUE(absl::IsInvalidArgument(File::Open(name, options).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(File().Sync()));
  CancelContext ctx = Context::WithCancel(Context::Background());
  ctx.Cancel();
  char byte = 0;
  EXPECT_TRUE(absl::IsCancelled(file->ReadAt({&byte, 1}, 0, ctx).status()));
  EXPECT_TRUE(absl::IsCancelled(file->Sync(ctx)));
}

// To io_uring the largest number means the descriptor's own position.
WEFT_TEST_POLLERS(File, OffsetsBeyondTheLargestAreRefused) {
  constexpr uint64_t kLargest = INT64_MAX;
  TempDir dir;
  absl::StatusOr<File> file = File::Open(dir.Name("offsets"), ForWriting());
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(file->WriteAt("hello", 0).ok());
  char buffer[8];
  for (uint64_t offset : {kLargest - 6, kLargest + 1, ~uint64_t{0} - 1, ~uint64_t{0}}) {
    const absl::Status read = file->ReadAt(buffer, offset).status();
    EXPECT_TRUE(absl::IsInvalidArgument(read)) << offset << ": " << read;
    const absl::Status written = file->WriteAt("12345678", offset);
    EXPECT_TRUE(absl::IsInvalidArgument(written)) << offset << ": " << written;
  }
  absl::StatusOr<size_t> n = file->ReadAt(buffer, 0);
  ASSERT_TRUE(n.ok()) << n.status();
  EXPECT_EQ(std::string_view(buffer, *n), "hello");
}

WEFT_TEST_POLLERS(File, CloseWaitsForNobodyAndFreesWithTheLast) {
  TempDir dir;
  for (int round = 0; round < 20; round++) {
    absl::StatusOr<File> file = File::Open(dir.Name("f" + std::to_string(round)), ForWriting());
    ASSERT_TRUE(file.ok());
    WaitGroup all;
    for (int i = 0; i < 4; i++) {
      all.Go([file = *file, i]() mutable {
        const std::string data(100'000, 'x');
        absl::Status status = file.WriteAt(data, static_cast<uint64_t>(i) * data.size());
        EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
      });
    }
    for (int i = 0; i < round % 5; i++) Yield();
    EXPECT_TRUE(file->Close().ok());
    all.Wait();
  }
}

}  // namespace
}  // namespace weft
