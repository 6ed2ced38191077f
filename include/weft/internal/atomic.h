// The part of the seam that public headers need: atomics whose memory orders have names.
//
// All of weft reaches atomics through os::Atomic, and every order is named where it is used:
//
//     tail_.Store(tail + 1, os::kRelease<"runq.push.tail">);
//
// Here a name costs nothing: it is a constexpr std::memory_order. A checker that explores
// schedules replaces this header by one where each name is an object that it can weaken.
// Together with runtime/os/ this is the only code that names std::atomic.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weft::os {

template <size_t N>
struct SiteName {
  char text[N];
  consteval SiteName(const char (&name)[N]) {  // NOLINT(google-explicit-constructor)
    for (size_t i = 0; i < N; i++) text[i] = name[i];
  }
};

template <SiteName Name>
inline constexpr std::memory_order kRelaxed = std::memory_order_relaxed;
template <SiteName Name>
inline constexpr std::memory_order kAcquire = std::memory_order_acquire;
template <SiteName Name>
inline constexpr std::memory_order kRelease = std::memory_order_release;
template <SiteName Name>
inline constexpr std::memory_order kAcqRel = std::memory_order_acq_rel;
template <SiteName Name>
inline constexpr std::memory_order kSeqCst = std::memory_order_seq_cst;

using Order = std::memory_order;

// Atomics have the size of what they hold.
inline constexpr bool kPlainAtomics = true;

// An atomic word. No default orders: each access names its site.
template <class T>
class Atomic {
 public:
  constexpr Atomic() : value_() {}
  constexpr explicit Atomic(T value) : value_(value) {}
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  [[gnu::always_inline]] T Load(Order order) const { return value_.load(order); }
  [[gnu::always_inline]] void Store(T value, Order order) { value_.store(value, order); }
  [[gnu::always_inline]] T Exchange(T value, Order order) { return value_.exchange(value, order); }
  [[gnu::always_inline]] T FetchAdd(T value, Order order) { return value_.fetch_add(value, order); }
  [[gnu::always_inline]] T FetchSub(T value, Order order) { return value_.fetch_sub(value, order); }
  [[gnu::always_inline]] T FetchOr(T value, Order order) { return value_.fetch_or(value, order); }
  [[gnu::always_inline]] T FetchAnd(T value, Order order) { return value_.fetch_and(value, order); }

  // On failure `expected` holds what was found; the order of that read follows from `order`.
  [[gnu::always_inline]] bool CompareExchange(T& expected, T desired, Order order) {
    return value_.compare_exchange_strong(expected, desired, order);
  }

 private:
  std::atomic<T> value_;
};

// A fence between this thread's accesses. TSan does not model fences: protocols that use one
// keep all shared data in atomics.
[[gnu::always_inline]] inline void Fence(Order order) {
#if defined(__SANITIZE_THREAD__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif
  std::atomic_thread_fence(order);
#if defined(__SANITIZE_THREAD__)
#pragma GCC diagnostic pop
#endif
}

// Keeps the compiler, not the CPU, from reordering: the fast side of an asymmetric fence whose
// slow side is os::Membarrier().
[[gnu::always_inline]] inline void LightFence() {
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

// A field that no atomic operation touches: protected by an order of others' making. Named where a
// checker shall see to that.
template <class T>
using Plain = T;

// A slot that is read by who does not own it yet, and counts only if a later compare-exchange gives
// it to him; who then calls Commit. The explorer checks from there that nobody wrote it meanwhile,
// or writes it unordered with the read: what a load that returns a later store would show.
struct ReadStamp {};
inline ReadStamp StampReads() {
  return {};
}
template <class T>
class Speculative : public Atomic<T> {
 public:
  using Atomic<T>::Atomic;
  void Commit(ReadStamp) const {}
};

// A number that only has to be large here, and small where every schedule is run.
constexpr int Scaled(int here, int explored [[maybe_unused]]) {
  return here;
}

}  // namespace weft::os
