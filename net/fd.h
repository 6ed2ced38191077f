// Fd: a socket that goroutines read, write and close.
//
// It joins four things: the descriptor's number; FdMutex, which says who is inside; the
// netpoller's Desc, which says when to try again; and a Watch for each side, through which
// Contexts end waits.
//
// Reads ask the netpoller first: Wait consumes one report of readiness, then one read follows.
// A read that filled its buffer may have left more and puts the report back; a shorter one has
// emptied the socket, and the next byte brings a new report. So a message costs one read, not
// one and an EAGAIN. (TCP's urgent mark cuts a read short too; who sends one waits until he sends
// more. Other sockets end reads between messages as they like, an AF_UNIX one where descriptors
// came with the bytes: they are read until EAGAIN.) Writes try first: a socket is writable most of
// the time, and only one that took less than it was given is waited for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "net/error.h"
#include "net/fd_mutex.h"
#include "net/watch.h"
#include "netpoll/netpoll.h"
#include "runtime/sched.h"
#include "weft/internal/atomic.h"
#include "weft/net.h"

namespace weft::net::internal {

// What is known of a socket when it becomes an Fd, and does not change.
struct FdIdentity {
  const char* network = "tcp";  // static
  Address local;
  Address remote;
};

// Rules of access: [c] constant   [r] who is inside on the read side   [w] on the write side
// What a message touches lies together, from desc_ on: two cache lines (netpoll::Open is told).
class Fd {
 public:
  // Takes `fd` (non-blocking) over; one handle refers to the result. On an error (a -errno in
  // `outcome`) null, and `fd` is the caller's still.
  static Fd* New(int fd, netpoll::Kind kind, const FdIdentity& identity, Outcome* outcome);
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;

  // Whole operations: they wait for their turn, and leave.
  Outcome Read(std::span<char> buffer, const Context& ctx);
  Outcome Receive(Chunk* chunk, const Context& ctx);
  Outcome Write(std::string_view data, const Context& ctx);
  Outcome WriteAll(std::string_view data, const Context& ctx);
  Outcome WriteParts(std::span<const std::string_view> parts, const Context& ctx);
  Outcome ShutdownWrite();
  bool Close();
  Outcome Release();
  void SetDeadline(Side side, absl::Time when);

  const FdIdentity& identity() const { return identity_; }
  // Before others have the Fd.
  void set_identity(const FdIdentity& identity) { identity_ = identity; }
  absl::Status Error(std::string_view operation, Outcome outcome, const Context& ctx) const;

  // Being inside on one side; everything below is for who is.
  class Turn {
   public:
    [[gnu::always_inline]] Turn(Fd* fd, Side side, const Context& ctx)
        : fd_(fd), side_(side), refusal_(fd->mutex_.Enter(side, ctx)) {}
    [[gnu::always_inline]] ~Turn() {
      if (entered() && fd_->mutex_.Leave(side_)) [[unlikely]]
        fd_->Free();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    bool entered() const { return refusal_ == 0; }
    // Why it could not enter: kClosed or kContextDone.
    Outcome refusal() const { return refusal_; }

   private:
    Fd* fd_;
    Side side_;
    Outcome refusal_;
  };

  // Whether the side may go on: 0, kClosed, kTimedOut or kContextDone. Does not wait.
  Outcome Check(Side side, const Context& ctx) const;
  // Waits for a report of readiness. 0, kClosed, kTimedOut, kContextDone or -errno.
  Outcome Await(Side side, const Context& ctx);
  // What Await consumed was not all.
  void SetReady(Side side) { netpoll::SetReady(desc_, ToMode(side)); }
  // As netpoll::SetDeadline.
  void SetNanotimeDeadline(Side side, int64_t when) {
    netpoll::SetDeadline(desc_, ToMode(side), when);
  }
  // The side's Context is none of later operations' business: lets go of it.
  void StopWatching(Side side) { WatchOf(side).Drop(); }
  int number() const { return fd_; }

 private:
  friend void RefFd(Fd* fd);
  friend void UnrefFd(Fd* fd);

  Fd(int fd, const FdIdentity& identity)
      : fd_(fd),
        short_read_empties_(strncmp(identity.network, "tcp", 3) == 0),
        runtime_(runtime::RuntimeSerial()),
        identity_(identity) {}
  ~Fd() = default;

  static netpoll::Mode ToMode(Side side) { return static_cast<netpoll::Mode>(side); }
  // Whether the socket may hold more after a read of `n` bytes into `size`.
  bool MayHoldMore(int64_t n, size_t size) const {
    return n < 0 || !short_read_empties_ || static_cast<size_t>(n) == size;
  }
  Watch& WatchOf(Side side) { return side == Side::kRead ? read_watch_ : write_watch_; }
  [[gnu::always_inline]] inline Outcome SendAll(std::string_view data, const Context& ctx);
  void Free();  // step 6 of fd_mutex.h
  netpoll::Desc* Detach();

  FdMutex mutex_;
  netpoll::Desc* desc_ = nullptr;               // [c] until Free
  const int fd_;                                // [c]
  uint32_t receive_bytes_ = Chunk::kMinPooled;  // [r] what Receive takes
  os::Atomic<uint32_t> handles_{1};
  const bool short_read_empties_;             // [c]
  const uint32_t runtime_;                    // [c] the serial of the runtime that it belongs to
  Watch read_watch_{netpoll::Mode::kRead};    // [r]
  Watch write_watch_{netpoll::Mode::kWrite};  // [w]
  FdIdentity identity_;                       // [c]
};

static_assert(static_cast<int>(Side::kRead) == static_cast<int>(netpoll::Mode::kRead));
static_assert(static_cast<int>(Side::kWrite) == static_cast<int>(netpoll::Mode::kWrite));

}  // namespace weft::net::internal
