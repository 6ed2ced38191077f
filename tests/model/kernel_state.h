// What the parts of the fake kernel share.
#pragma once

#include "runtime/os/uring.h"
#include "tests/model/engine.h"
#include "tests/model/kernel.h"

namespace weft::model {

constexpr int kMostFiles = 12;
constexpr int kMostEntries = 8;
constexpr int kMostSubmissions = 8;
constexpr int kMostPolls = 8;
constexpr int kMostCompletions = 24;
constexpr int kMostRings = 2;
constexpr int kNone = -1;
// Reported whether it was asked for or not.
constexpr uint32_t kAlways = os::kPollError | os::kPollHangUp;

// What happened before some calls, for those that learn of them.
struct Order {
  View view;
  int vectors;
};

enum class Type : uint8_t { kFree, kSocket, kEvent, kEpoll, kRing };

struct File {
  Type type;
  int references;  // descriptors and rings' polls
  uint32_t ready;
  Order order;
};

struct Entry {  // of the epoll set
  bool used, level, ready;
  int fd, file;
  uint32_t mask;
  uint64_t data;
};

struct Poll {
  bool armed, cancelled;
  int file;
  uint32_t mask, pending;
  uint64_t data;
};

enum class Op : uint8_t { kPoll, kCancel, kCancelAll };
struct Submission {
  Op op;
  int fd;
  uint32_t mask;
  uint64_t data, target;
};

struct Ring {
  int file;
  int submissions, completions;
  Submission submission[kMostSubmissions];
  os::UringEvent completion[kMostCompletions];
  Poll poll[kMostPolls];
};

// Trivial, so that it is put back by a copy.
struct Kernel {
  int files, rings, most_reports, polls_to_end, entries_to_refuse;
  int descriptor[kMostFiles];  // its file
  File file[kMostFiles];
  int epoll;  // its file
  Entry entry[kMostEntries];
  Ring ring[kMostRings];
};
extern Kernel kernel;

// All that the kernel holds is the threads' in common: whoever uses it comes after who did before.
void Use();
// A system call begins.
void Call();
void Release(Order& o);
void Acquire(const Order& o);
[[noreturn]] void OutOf(const char* what);

// Its descriptor.
int NewFile(Type type);
// 0: none.
int FileOf(int fd);
void Unrefer(int file);
// Where threads sleep in the kernel, on a file.
int SleepersOf(int file);
// Who is told of a file's state comes after who made it so.
uint32_t ReadinessOf(int file);

}  // namespace weft::model
