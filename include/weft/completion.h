// Completion<T>: a value that arrives once, from anywhere.
//
// The way out of callbacks and thread pools into straight-line code:
//
//     weft::Completion<Row> row;
//     db.Query(sql, [row](Row r) mutable { row.Set(std::move(r)); });   // on the library's thread
//     absl::StatusOr<Row> result = row.Wait(ctx);
//
// A Completion is a counted handle: copies name the same value. T may be move-only; it is moved
// in by Set and out by one Wait. T may be void, or an absl::StatusOr: then Wait returns just that.
// All members may be called from any goroutine and from any plain thread.
#pragma once

#include <cstdint>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/chan.h"
#include "weft/context.h"
#include "weft/mutex.h"

namespace weft {

namespace internal {

struct CompletionCore {
  os::Atomic<uint32_t> refs{1};
  os::Atomic<uint32_t> state{0};
  WaitQueueRoom queue;
};

void RefCompletion(CompletionCore* core);
bool UnrefCompletion(CompletionCore* core);  // true: it was the last handle
bool ClaimCompletion(CompletionCore* core);  // true: the caller fills it, then publishes
void UnclaimCompletion(CompletionCore* core);
void PublishCompletion(CompletionCore* core);
bool IsCompletionSet(const CompletionCore* core);
absl::Status AwaitCompletion(CompletionCore* core, const Context& ctx);
bool TakeCompletion(CompletionCore* core);  // true: the value is the caller's to move out
bool HoldsCompletionValue(const CompletionCore* core);  // with the last handle gone
absl::Status CompletionTaken();

struct Nothing {};

template <class T>
struct CompletionTraits {
  using Value = T;
  using Result = absl::StatusOr<T>;
};
template <class T>
struct CompletionTraits<absl::StatusOr<T>> {
  using Value = absl::StatusOr<T>;
  using Result = absl::StatusOr<T>;
};
template <>
struct CompletionTraits<void> {
  using Value = Nothing;
  using Result = absl::Status;
};

}  // namespace internal

template <class T>
class Completion {
  using Value = typename internal::CompletionTraits<T>::Value;

 public:
  using Result = typename internal::CompletionTraits<T>::Result;

  Completion() : block_(new Block) {}
  Completion(const Completion& other) : block_(other.block_) { internal::RefCompletion(block_); }
  // A moved-from handle may only be destroyed or assigned to.
  Completion(Completion&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Completion& operator=(Completion other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Completion() {
    if (block_ == nullptr || !internal::UnrefCompletion(block_)) return;
    if (internal::HoldsCompletionValue(block_)) block_->slot.value().~Value();
    delete block_;
  }

  // Set gives the value and wakes who waits. False: it was set before, and `value` is as it was.
  // Does not block. For T = void it takes nothing.
  template <class U = Value>
  requires(!std::is_void_v<T> && std::is_constructible_v<Value, U&&>) bool Set(U&& value) {
    return DoSet(std::forward<U>(value));
  }
  bool Set() requires std::is_void_v<T> { return DoSet(); }

  // Wait blocks until the value is there, and moves it out. One Wait gets it: others, and later
  // ones, return kFailedPrecondition (for T = void each returns OK). When `ctx` is done first: its
  // status, and the value is left for another Wait.
  [[nodiscard]] Result Wait(const Context& ctx = Context::Current()) {
    if (absl::Status status = internal::AwaitCompletion(block_, ctx); !status.ok()) return status;
    if constexpr (std::is_void_v<T>) {
      return absl::OkStatus();
    } else {
      if (!internal::TakeCompletion(block_)) return internal::CompletionTaken();
      return Result(block_->slot.Take());
    }
  }

  // Whether it was set. Does not block.
  [[nodiscard]] bool IsSet() const { return internal::IsCompletionSet(block_); }

 private:
  struct Block : internal::CompletionCore {
    internal::Slot<Value> slot;
  };

  template <class... U>
  bool DoSet(U&&... value) {
    // Who waits may drop the last other handle as soon as it sees the value.
    const Completion keep(*this);
    if (!internal::ClaimCompletion(block_)) return false;
    Claim claim{block_};
    new (block_->slot.raw()) Value(std::forward<U>(value)...);
    internal::PublishCompletion(std::exchange(claim.block, nullptr));
    return true;
  }

  // A claim whose value's constructor throws is given up.
  struct Claim {
    Block* block;
    ~Claim() {
      if (block != nullptr) internal::UnclaimCompletion(block);
    }
  };

  Block* block_;
};

}  // namespace weft
