// The M's event ring: the last things that an M did, for fatal reports.
//
// Own thread writes, a reporter reads whatever stands there: signal-safe, no order promised.
// Always on; a record is three plain stores (bench/micro, "event"), and only slow paths record.
#pragma once

#include <cstdint>

namespace weft::runtime {

#define WEFT_EVENTS(E)                    \
  E(kNone, "-")                           \
  E(kExecute, "execute")                  \
  E(kIdle, "idle")                        \
  E(kSleep, "sleep")                      \
  E(kWoken, "woken")                      \
  E(kAcquireP, "acquire P")               \
  E(kReleaseP, "release P")               \
  E(kSteal, "steal")                      \
  E(kSyscall, "entersyscall")             \
  E(kSyscallExit, "exitsyscall")          \
  E(kHandoff, "hand off P")               \
  E(kStop, "stop for the world")          \
  E(kStopWorld, "stop the world")         \
  E(kStartWorld, "start the world")       \
  E(kForEachP, "for each P")              \
  E(kPreempt, "preempted at a poll")      \
  E(kNetpoll, "netpoll readied")          \
  E(kMove, "move ring to the shared set") \
  E(kExit, "exit")

enum class Event : uint8_t {
#define WEFT_EVENT_ENUM(name, text) name,
  WEFT_EVENTS(WEFT_EVENT_ENUM)
#undef WEFT_EVENT_ENUM
};

class EventRing {
 public:
  struct Entry {
    uint64_t arg = 0;  // a goid, P or M number, as the event has it
    Event event = Event::kNone;
  };
  static constexpr uint32_t kSize = 32;

  void Add(Event event, uint64_t arg) {
    Entry& e = entries_[next_++ % kSize];
    e.event = event;
    e.arg = arg;
  }
  // The i-th latest, from 0.
  const Entry& Latest(uint32_t i) const { return entries_[(next_ - 1 - i) % kSize]; }

 private:
  uint32_t next_ = 0;
  Entry entries_[kSize];
};

}  // namespace weft::runtime
