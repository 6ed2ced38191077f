// A descriptor's state in the netpoller; the protocol is in desc.cc.
#pragma once

#include <cstdint>

#include "netpoll/netpoll.h"
#include "runtime/g.h"
#include "runtime/lock.h"
#include "runtime/sanitizer.h"
#include "runtime/timer.h"

namespace weft::netpoll {

struct Ring;

// What a mode's word holds, unless it is the goroutine that waits.
inline constexpr uintptr_t kNil = 0;    // no report, nobody waits
inline constexpr uintptr_t kReady = 1;  // one report

// Bits of `flags`. Set with the mode's bit shifted by the mode where it has one.
inline constexpr uint32_t kClosing = 1;
inline constexpr uint32_t kExpired = 2;  // << mode
inline constexpr uint32_t kHungUp = 8;   // << mode: readiness that lasts
// Above them the number of this use of the struct: a late report's hang-up must not stay with the
// next use.
inline constexpr uint32_t kGeneration = 64;

// Rules of access: [a] atomic   [l] under `lock`   [c] constant while open   [r] under the ring's
// lock
struct alignas(64) Desc {
  os::Atomic<uintptr_t> word[2];        // [a] by mode
  os::Atomic<uint32_t> flags{0};        // [a] with the generation; the closer bumps it
  os::Plain<int> fd = -1;               // [c]
  Kind kind = Kind::kStream;            // [c]
  os::Atomic<bool> registered{false};   // [a] the kernel knows it; written under lock
  os::Plain<bool> in_shared = false;    // [l] in the shared set
  os::Plain<bool> was_in_ring = false;  // [l] a ring's poll may still refer to the file
  os::Plain<bool> was_rehomed = false;  // [l] another ring's, too
  uint8_t away = 0;                     // the reader's: waits in a row on other Ms than its ring's
  os::Atomic<const void*> owner{nullptr};  // [c] its user's object, only to be brought near
  os::Atomic<Ring*> ring{nullptr};         // [r] writes: whose list it is in
  os::Plain<Desc*> ring_next = nullptr;    // [r]
  os::Plain<Desc*> ring_prev = nullptr;    // [r]
  Desc* free_next = nullptr;               // in the pool: under its lock
  runtime::Lock lock{runtime::LockRank::kNetDesc};
  uintptr_t seq[2] = {0, 0};         // [l] of the deadline in force
  runtime::Timer* timers = nullptr;  // [l] one a mode, from the first deadline on; kept in the pool

  // What the kernel is given to name this use of the struct: 64-byte alignment leaves 6 bits
  // below, the address space 16 above. A report for an earlier use differs, for 4 million uses.
  uint64_t Token() const {
    // The opener's own, or checked again by who decodes.
    return TokenOf(flags.Load(os::kRelaxed<"desc.token">));
  }
  uint64_t TokenOf(uint32_t of_flags) const {
    uint64_t g = of_flags / kGeneration;
    return reinterpret_cast<uint64_t>(this) | (g & 63) | (g >> 6 & 0xffff) << 48;
  }
  static Desc* AddressOf(uint64_t token) {
    return reinterpret_cast<Desc*>(token & 0x0000'ffff'ffff'ffc0);
  }
  // The descriptor that a token names, or null when it has been closed since.
  static Desc* FromToken(uint64_t token) {
    Desc* d = AddressOf(token);
    return d->Token() == token ? d : nullptr;
  }
};

// A batch of reports is about to be handled. In steps, so that the misses of a batch overlap: a
// descriptor and its goroutine have left the caches since the connection's last message.
template <class Event>
void WarmUp([[maybe_unused]] const Event* events, [[maybe_unused]] unsigned n) {
#ifndef WEFT_TSAN  // which does not see that the kernel orders a registration before its report
  for (unsigned i = 0; i < n; i++) __builtin_prefetch(Desc::AddressOf(events[i].user_data), 1);
  for (unsigned i = 0; i < n; i++) {
    const Desc* d = Desc::AddressOf(events[i].user_data);
    if (d == nullptr) continue;
    // Orders nothing: who reports takes it out.
    uintptr_t waiter = d->word[0].Load(os::kRelaxed<"desc.warm">);
    const void* user = d->owner.Load(os::kRelaxed<"desc.warm.owner">);  // as above
    uintptr_t owner = reinterpret_cast<uintptr_t>(user);
    for (size_t line = 0; line < 128; line += 64) {
      __builtin_prefetch(reinterpret_cast<const void*>(waiter + line), 1);
      __builtin_prefetch(reinterpret_cast<const void*>(owner + line), 1);
    }
  }
#endif
}

// The kernel reported `mask` for the use of `d` that `token` names: goroutines that became ready
// are added to `out`.
void Report(Desc* d, uint64_t token, uint32_t mask, runtime::GQueue* out);
// No report will come: who waits shall try, and register again.
void Forget(Desc* d, runtime::GQueue* out);  // d->lock held

}  // namespace weft::netpoll
