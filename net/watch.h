// Watch: how the end of a Context reaches a goroutine that waits in the netpoller.
//
// The problem. Each Read and Write takes a Context, and almost all come with the same one as the
// last. Registering with the Context and taking back around each wait would cost a lock and two
// list operations a message; a wait by itself costs a few atomics.
//
// So each descriptor and side keeps one registration, which stays: a Watch. Actors: the operation
// O that is inside on this side (there is one at a time, see fd_mutex.h; the watch is its own),
// and the canceller C.
//   1. O: if `ctx` is not the one registered, take the old registration back (this waits for
//      its callback, if that runs just now), register with `ctx`.
//   2. O: if `ctx` is done, give up.
//   3. O: netpoll::Wait.
//   4. O: if `ctx` is done, give up; if the wait had consumed a report, give it back
//      (SetReady), for the next operation.
//   a. C marks the Context done.   b. C runs the callbacks: ours is SetReady(descriptor, side).
// No cancel is lost. If O at 2 does not see a, then b comes after 2, since b follows a; and the
// registration of 1 stands by then (or 1 found the Context done already, which 2 sees). SetReady
// at b either ends the Wait at 3, or is kept for it, so that it returns at once; O wakes and
// sees a at 4, since a came before b and b's report before the wake-up. A callback runs once; but
// once it has run, `ctx` is done for good, and 2 ends every later operation with it.
// A report too many is harmless: b's SetReady, consumed by an operation with another Context, costs
// one system call that says EAGAIN.
//
// The watch keeps its Context alive until the descriptor is closed or another Context comes. The
// Background needs no registration.
#pragma once

#include "netpoll/netpoll.h"
#include "weft/context.h"

namespace weft::net::internal {

class Watch : private ContextCallback {
 public:
  explicit Watch(netpoll::Mode mode) : ContextCallback(Wake), mode_(mode) {}

  // Steps 1 and 2. False: `ctx` is done.
  [[nodiscard]] [[gnu::always_inline]] bool Follow(const Context& ctx, netpoll::Desc* desc) {
    if (!Watches(ctx)) [[unlikely]]
      return Change(ctx, desc);
    return !ctx.IsDone();
  }

  // Takes the registration back; afterwards the callback neither runs nor will.
  void Drop() { Remove(); }

 private:
  static void Wake(ContextCallback* self) {
    const Watch* watch = static_cast<Watch*>(self);
    netpoll::SetReady(watch->desc_, watch->mode_);  // b.
  }
  bool Change(const Context& ctx, netpoll::Desc* desc) {
    Remove();
    desc_ = desc;
    return ctx.AddCallback(this);
  }

  const netpoll::Mode mode_;
  netpoll::Desc* desc_ = nullptr;  // set while it is registered
};

}  // namespace weft::net::internal
