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
  for (int round = 0;; round++) {
    uint32_t found = from;
    // As in CasGStatus.
    if (g->status.word_.CompareExchange(found, to, os::kAcqRel<"status.cas.again">)) return;
    if (!IsTransient(found, from)) BadTransition(g, found, from, to);
    os::SpinWait(round);
  }
}

bool CasToGScanStatus(G* g, GState from) {
  uint32_t found = from;
  // Acquire: the stack as its owner left it. Release: nothing yet, but the word's history stays
  // one chain, so that a reader of a later state sees all earlier writes.
  return g->status.word_.CompareExchange(found, from | kScan, os::kAcqRel<"status.scan">);
}

void CasFromGScanStatus(G* g, GState to) {
  uint32_t found = to | kScan;
  // Release: what the scanner did to the stack; pairs with the next transition.
  if (!g->status.word_.CompareExchange(found, to, os::kAcqRel<"status.unscan">)) {
    BadTransition(g, found, to, to);
  }
}

GState CasGCopyStack(G* g) {
  for (int round = 0;; round++) {
    uint32_t found = g->status.Read() & ~uint32_t{kScan};
    if (found != Gwaiting && found != Grunnable) BadTransition(g, found, Gwaiting, Gcopystack);
    GState from = static_cast<GState>(found);
    // As in CasGStatus.
    if (g->status.word_.CompareExchange(found, Gcopystack, os::kAcqRel<"status.copystack">)) {
      return from;
    }
    os::SpinWait(round);
  }
}

void CasGToPreemptScan(G* g) {
  for (int round = 0;; round++) {
    uint32_t found = Grunning;
    // As in CasGStatus; the scan bit keeps suspenders away until dropg is done.
    if (g->status.word_.CompareExchange(found, Gpreempted | kScan, os::kAcqRel<"status.preempt">)) {
      return;
    }
    if (!IsTransient(found, Grunning)) BadTransition(g, found, Grunning, Gpreempted);
    os::SpinWait(round);
  }
}

bool CasGFromPreempted(G* g) {
  uint32_t found = Gpreempted;
  // As in CasGStatus.
  return g->status.word_.CompareExchange(found, Gwaiting, os::kAcqRel<"status.unpreempt">);
}

}  // namespace weft::runtime
