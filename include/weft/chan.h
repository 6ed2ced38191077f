// Channels.
//
// A Chan<T> is a counted handle: copies name the same channel; it is freed with its last handle.
// All members may be called from any goroutine and from any plain thread (which then blocks
// itself). Values move: T may be move-only, and must be nothrow move constructible, because it
// moves while the channel is locked. T's move constructor and destructor must not use the same
// channel. A handle must live until the call on it has returned: goroutines take copies.
//
// Elements that memcpy can move (trivially copyable) move under the runtime's own lock, all others
// under a lock of the channel's, whose holder may lose its turn in their constructors: then
// "does not wait" and "does not block" still hold for partners and room, but not for that lock.
//
// The protocol is that of Go's channels: a sender that finds a receiver waiting gives the value
// to it directly, waiters are served first come first served, close wakes them all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

namespace weft {

namespace internal {
struct ChanCore;

// How elements move. Null functions: by memcpy, under the runtime's own lock; else under a lock
// whose holder may be parked, since foreign code runs there.
struct ElementOps {
  size_t size;
  size_t alignment;
  void (*move)(void* to, void* from);  // constructs *to, leaves *from moved-from
  void (*destroy)(void* element);
};

enum class ChanResult : uint8_t { kOk, kClosed, kWouldBlock };

size_t ChanBytes(size_t capacity, const ElementOps& ops);
ChanCore* InitChan(void* memory, size_t capacity, const ElementOps& ops);
void RefChan(ChanCore* c);
bool UnrefChan(ChanCore* c);  // true: it was the last; what is buffered has been destroyed
ChanResult SendChan(ChanCore* c, void* value, bool block);
ChanResult ReceiveChan(ChanCore* c, void* value, bool block);  // constructs *value when kOk
bool CloseChan(ChanCore* c);                                   // false: it was closed before
bool IsChanClosed(const ChanCore* c);
size_t ChanLength(const ChanCore* c);
size_t ChanCapacity(const ChanCore* c);

template <class T>
struct Element {
  static_assert(std::is_nothrow_move_constructible_v<T>,
                "values move under the channel's lock: T's move must not throw");
  static constexpr bool kTrivial = std::is_trivially_copyable_v<T> && sizeof(T) <= 128;
  static constexpr ElementOps kOps = {
      sizeof(T), alignof(T),
      kTrivial ? nullptr
               : +[](void* to, void* from) { new (to) T(std::move(*static_cast<T*>(from))); },
      kTrivial ? nullptr : +[](void* element) { static_cast<T*>(element)->~T(); }};
};

// Room for a T that the runtime may construct.
template <class T>
class Slot {
 public:
  void* raw() { return bytes_; }
  T& value() { return *std::launder(reinterpret_cast<T*>(bytes_)); }
  T Take() {
    T taken(std::move(value()));
    value().~T();
    return taken;
  }

 private:
  alignas(T) unsigned char bytes_[sizeof(T)];
};

// What Select needs to know of a case; see weft/select.h.
struct SelectCase {
  enum Kind : uint8_t { kNever, kSend, kReceive, kTimeout };
  Kind kind = kNever;
  bool ok = false;  // out, of the case that won: false when the channel is closed
  ChanCore* chan = nullptr;
  void* value = nullptr;
  int64_t timeout_ns = 0;  // kTimeout
};
}  // namespace internal

template <class T>
class Chan {
 public:
  using value_type = T;

  // A channel that holds up to `capacity` values; 0: sender and receiver meet.
  explicit Chan(size_t capacity = 0) {
    const internal::ElementOps& ops = internal::Element<T>::kOps;
    void* memory = ::operator new(internal::ChanBytes(capacity, ops), kAlignment);
    core_ = internal::InitChan(memory, capacity, ops);
  }
  // No channel. In a Select its cases are never chosen; elsewhere its operations block for ever.
  template <class Null>
  requires std::is_null_pointer_v<Null>
  explicit Chan(Null) {}
  Chan(const Chan& other) : core_(other.core_) {
    if (core_ != nullptr) internal::RefChan(core_);
  }
  Chan(Chan&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  Chan& operator=(Chan other) noexcept {
    std::swap(core_, other.core_);
    return *this;
  }
  ~Chan() {
    if (core_ != nullptr && internal::UnrefChan(core_)) ::operator delete(core_, kAlignment);
  }

  // Send waits until a receiver or the buffer takes `value`. False: the channel is closed and
  // `value` is as it was.
  [[nodiscard]] bool Send(T&& value) {
    return internal::SendChan(core_, &value, true) == internal::ChanResult::kOk;
  }
  [[nodiscard]] bool Send(const T& value) requires std::is_copy_constructible_v<T> {
    T copy(value);
    return Send(std::move(copy));
  }

  // TrySend does not wait. False: nobody takes it now, or the channel is closed; `value` is as
  // it was.
  [[nodiscard]] bool TrySend(T&& value) {
    return internal::SendChan(core_, &value, false) == internal::ChanResult::kOk;
  }
  [[nodiscard]] bool TrySend(const T& value) requires std::is_copy_constructible_v<T> {
    T copy(value);
    return TrySend(std::move(copy));
  }

  // Receive waits for a value; nullopt when the channel is closed and drained.
  [[nodiscard]] std::optional<T> Receive() { return DoReceive(true); }

  // TryReceive does not wait: nullopt also when there is nothing now.
  [[nodiscard]] std::optional<T> TryReceive() { return DoReceive(false); }

  // Close wakes every waiter: senders get false, receivers what is buffered, then nullopt.
  // False: it was closed before. Does not block.
  bool Close() { return internal::CloseChan(core_); }
  bool IsClosed() const { return internal::IsChanClosed(core_); }

  size_t size() const { return internal::ChanLength(core_); }
  size_t capacity() const { return internal::ChanCapacity(core_); }

  // Cases for Select. `in` becomes the value, or nullopt when the channel is closed and drained.
  class ReceiveCase : public internal::SelectCase {
   public:
    ReceiveCase(internal::ChanCore* core, std::optional<T>* in) : in_(in) {
      kind = core == nullptr ? kNever : kReceive;
      chan = core;
      value = slot_.raw();
    }
    ReceiveCase(const ReceiveCase&) = delete;
    ReceiveCase& operator=(const ReceiveCase&) = delete;
    void Finish() {
      if (!ok) {
        if (in_ != nullptr) in_->reset();
        return;
      }
      if (in_ != nullptr) in_->emplace(std::move(slot_.value()));
      slot_.value().~T();
    }

   private:
    std::optional<T>* in_;
    internal::Slot<T> slot_;
  };
  [[nodiscard]] ReceiveCase OnReceive(std::optional<T>* in) { return ReceiveCase(core_, in); }

  // `*out` moves when this case wins, unless the channel is closed: then the case wins too,
  // `*out` is as it was and `*sent` (when given) false.
  class SendCase : public internal::SelectCase {
   public:
    SendCase(internal::ChanCore* core, T* out, bool* sent) : sent_(sent) {
      kind = core == nullptr ? kNever : kSend;
      chan = core;
      value = out;
    }
    void Finish() {
      if (sent_ != nullptr) *sent_ = ok;
    }

   private:
    bool* sent_;
  };
  [[nodiscard]] SendCase OnSend(T* out, bool* sent = nullptr) { return SendCase(core_, out, sent); }

  // for (T& value : chan): receives until the channel is closed and drained.
  class Iterator {
   public:
    Iterator() = default;
    explicit Iterator(Chan* chan) : chan_(chan), value_(chan->Receive()) {}
    T& operator*() { return *value_; }
    Iterator& operator++() {
      value_.reset();
      if (std::optional<T> next = chan_->Receive()) value_.emplace(*std::move(next));
      return *this;
    }
    bool operator!=(const Iterator&) const { return value_.has_value(); }

   private:
    Chan* chan_ = nullptr;
    std::optional<T> value_;
  };
  Iterator begin() { return Iterator(this); }
  Iterator end() { return Iterator(); }

  friend bool operator==(const Chan& a, const Chan& b) { return a.core_ == b.core_; }

 private:
  static constexpr std::align_val_t kAlignment{64};

  std::optional<T> DoReceive(bool block) {
    internal::Slot<T> slot;
    if (internal::ReceiveChan(core_, slot.raw(), block) != internal::ChanResult::kOk) {
      return std::nullopt;
    }
    return std::optional<T>(slot.Take());
  }

  internal::ChanCore* core_ = nullptr;
};

}  // namespace weft
