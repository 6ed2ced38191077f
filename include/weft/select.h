// Select: waiting for the first of several channel operations.
//
//     std::optional<Job> in;
//     switch (weft::Select(jobs.OnReceive(&in), out.OnSend(&result), ctx.OnDone(),
//                          weft::After(absl::Seconds(1)))) { ... }
//
// The number of the case that won is returned, from 0. When several can go on, one is chosen at
// random, all alike. No closures, no allocation; a value moves only if its case wins.
// Any goroutine and any plain thread may call it.
#pragma once

#include <utility>

#include "absl/time/time.h"
#include "weft/chan.h"

namespace weft {

namespace internal {
// The index of the case that won; -1 when none can go on and `block` is false.
int SelectCases(SelectCase* const* cases, int count, bool block);

template <class Case>
void FinishIf(bool won, Case& c) {
  if (won) c.Finish();
}

template <class... Cases>
int DoSelect(bool block, Cases&... cases) {
  SelectCase* list[sizeof...(cases) + 1] = {&cases...};
  int winner = SelectCases(list, static_cast<int>(sizeof...(cases)), block);
  int index = 0;
  (FinishIf(winner == index++, cases), ...);
  return winner;
}

class TimeoutCase : public SelectCase {
 public:
  explicit TimeoutCase(absl::Duration d) {
    kind = kTimeout;
    timeout_ns = absl::ToInt64Nanoseconds(d);
  }
  void Finish() {}
};
}  // namespace internal

// Select blocks until one of the cases can go on. Without cases: for ever.
template <class... Cases>
int Select(Cases&&... cases) {
  return internal::DoSelect(true, cases...);
}

// TrySelect does not block: -1 when no case can go on now. (Go's select with a default.)
template <class... Cases>
[[nodiscard]] int TrySelect(Cases&&... cases) {
  return internal::DoSelect(false, cases...);
}

// A case that wins when `d` has passed since Select began.
[[nodiscard]] inline internal::TimeoutCase After(absl::Duration d) {
  return internal::TimeoutCase(d);
}

}  // namespace weft
