// WaitGroup: waiting until a number of things are done.
//
//     weft::WaitGroup group;
//     for (Job& job : jobs) group.Go([&job] { Run(job); });
//     group.Wait();
//
// For goroutines that can fail or be cancelled see weft/scope.h. Any goroutine and any plain
// thread may use it. It may be constant-initialized, and destroyed as soon as a Wait has returned.
#pragma once

#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

#include "weft/go.h"
#include "weft/internal/atomic.h"
#include "weft/mutex.h"

namespace weft {

class WaitGroup {
 public:
  constexpr WaitGroup() = default;
  WaitGroup(const WaitGroup&) = delete;
  WaitGroup& operator=(const WaitGroup&) = delete;

  // Add adds `delta`, which may be negative, to the number of things to wait for; Done takes one
  // away. At 0 every Wait returns. Fatal below 0. Neither blocks.
  //
  // An Add that leaves 0 must come before the Wait that shall wait for it; and when the group is
  // used again, after all earlier Waits have returned.
  void Add(int delta);
  void Done() { Add(-1); }

  // Wait blocks until the number is 0. What was done before each Done is seen after it.
  void Wait();

  // Go runs `fn()` on a new goroutine and counts it until `fn` has returned and is destroyed.
  template <class F>
  void Go(F&& fn) {
    weft::Go([ticket = Ticket(this),
              fn = std::optional<std::decay_t<F>>(std::forward<F>(fn))]() mutable {
      (*fn)();
      fn.reset();
      ticket.Take()->Done();
    });
  }

 private:
  // The count of one goroutine that is to run; given back when it cannot be started.
  class Ticket {
   public:
    explicit Ticket(WaitGroup* group) : group_(group) { group_->Add(1); }
    Ticket(Ticket&& other) noexcept : group_(other.Take()) {}
    Ticket& operator=(Ticket&&) = delete;
    ~Ticket() {
      if (group_ != nullptr) group_->Done();
    }
    WaitGroup* Take() { return std::exchange(group_, nullptr); }

   private:
    WaitGroup* group_;
  };

  friend struct WaitGroupProtocol;  // sync/waitgroup.cc

  os::Atomic<int64_t> state_{0};
  internal::WaitQueueRoom queue_;
};

}  // namespace weft
