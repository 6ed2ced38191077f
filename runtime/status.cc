#include "runtime/status.h"

#include "runtime/fatal.h"
#include "runtime/g.h"
#include "runtime/os/clock.h"

namespace weft::runtime {

const char* GStateName(uint32_t status) {
  switch (status) {
#define WEFT_G_STATE_NAME(name, value) \
  case name:                           \
    return #name;                      \
  case name | kScan:                   \
    return #name "|Gscan";
    WEFT_G_STATES(WEFT_G_STATE_NAME)
#undef WEFT_G_STATE_NAME
    case Grunning | kStopWanted:
      return "Grunning, asked to stop";
    default:
      return "not a status";
  }
}

namespace {

[[noreturn]] void BadTransition(G* g, uint32_t found, GState from, uint32_t to) {
  FatalWith(g, "illegal transition of goroutine %u: it is %s, expected %s, to become %s",
            static_cast<uint64_t>(g->goid), GStateName(found), GStateName(from), GStateName(to));
}

// What passes by itself while somebody waits for `from`.
bool IsTransient(uint32_t found, GState from) {
  if (found == (from | kScan)) return true;
  return found == Gcopystack && (from == Gwaiting || from == Grunnable);
}

}  // namespace

void CasGStatusSlow(G* g, GState from, GState to) {
  uint32_t expected = from;
  for (int round = 0;; round++) {
    uint32_t found = expected;
    // As in CasGStatus.
    if (g->status.word_.CompareExchange(found, to, os::kAcqRel<"status.cas.again">)) break;
    if (StateOf(found) == from && (found & kScan) == 0) {
      expected = found;
      continue;
    }
    if (!IsTransient(found, from)) BadTransition(g, found, from, to);
    os::SpinWait(round);
  }
  if (expected != from) TellSuspenders();
}

bool CasToGScanStatus(G* g, GState from) {
  uint32_t found = from;
  // Acquire: the stack as its owner left it. It hands nothing on yet; what came before is handed on
  // by the chain of exchanges.
  return g->status.word_.CompareExchange(found, from | kScan, os::kAcquire<"status.scan">);
}

void CasFromGScanStatus(G* g, GState to) {
  uint32_t found = to | kScan;
  // Release: what the scanner did to the stack; pairs with the next transition.
  if (!g->status.word_.CompareExchange(found, to, os::kRelease<"status.unscan">)) {
    BadTransition(g, found, to, to);
  }
  TellSuspenders();
}

GState CasGCopyStack(G* g) {
  for (int round = 0;; round++) {
    uint32_t found = g->status.Read() & ~uint32_t{kScan};
    if (found != Gwaiting && found != Grunnable) BadTransition(g, found, Gwaiting, Gcopystack);
    GState from = static_cast<GState>(found);
    // As in CasToGScanStatus.
    if (g->status.word_.CompareExchange(found, Gcopystack, os::kAcquire<"status.copystack">)) {
      return from;
    }
    os::SpinWait(round);
  }
}

void CasGToPreemptScan(G* g) {
  uint32_t expected = Grunning | kStopWanted;
  for (int round = 0;; round++) {
    uint32_t found = expected;
    // Acquire: what a scanner did. The scan bit keeps suspenders away until its M has let go, and
    // says so with CasFromGScanStatus.
    if (g->status.word_.CompareExchange(found, Gpreempted | kScan,
                                        os::kAcquire<"status.preempt">)) {
      return;
    }
    if (StateOf(found) == Grunning && (found & kScan) == 0) {
      expected = found;
      continue;
    }
    if (!IsTransient(found, Grunning)) BadTransition(g, found, Grunning, Gpreempted);
    os::SpinWait(round);
  }
}

bool CasGFromPreempted(G* g) {
  uint32_t found = Gpreempted;
  // Acquire: as its M left it. The claimer hands it on when it readies it.
  return g->status.word_.CompareExchange(found, Gwaiting, os::kAcquire<"status.unpreempt">);
}

bool CasGWantStop(G* g) {
  uint32_t found = Grunning;
  // Release: the suspender's look at suspend_told comes before the G's leaving, which tells. (To
  // the explorer it does in any case: a load of what is written later is what it leaves out.)
  // Acquire: the guard as it was reset before the G became Grunning, if it has done so again since
  // the look (the explorer's suspender asks twice before it sleeps).
  return g->status.word_.CompareExchange(found, Grunning | kStopWanted,
                                         os::kAcqRel<"status.want_stop">);
}

}  // namespace weft::runtime
