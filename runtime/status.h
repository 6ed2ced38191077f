// The status word of a goroutine: who owns it and its stack.
//
// The problem. Many actors want to move a goroutine: the M that runs it, whoever readies it (a
// sender, a timer, the netpoller, which acts even while the world is stopped), a scanner or
// suspender that must hold it still. One word says where it is; one compare-and-swap moves it.
//
// kScan on top of a state is a lock: who set it owns the stack and blocks every transition. The
// others wait until it is cleared, so it is held for short, and never over a wait for anything
// that the goroutine does. Gcopystack is such a lock too, for who gives stack pages back.
//
// Rules, checked in every build:
//   1. A transition is one of the table; which one is fixed where it is written (a template
//      argument), so that an illegal one does not compile.
//   2. CasGStatus waits only for what passes by itself: the scan bit on the state that it
//      expects, and Gcopystack in place of Gwaiting or Grunnable. Any other state found is
//      fatal: above all Grunnable where Gwaiting was expected, which lasts (2b62e1ea: a shrinker
//      that had read Gwaiting waited for it for ever after the netpoller had readied the G).
//   3. Who does not know which of Gwaiting and Grunnable it will find uses CasGCopyStack.
//   4. kStopWanted stands on Grunning alone: a suspender waits until the G leaves that state
//      (suspend.cc). Whoever makes it leave clears the bit by that. So who runs a goroutine pays
//      nothing for it: its CAS fails, and the slow half looks.
//   5. Whoever ends what suspenders wait for tells them: kStopWanted cleared, a scan bit given
//      back, Gcopystack left.
//
// Orders. A transition is acq_rel: acquire, since the new owner reads what the former wrote (saved
// registers, wait reason, the stack); release, since it hands on what it wrote. Who only takes (the
// scan bit, Gcopystack) acquires, who only gives back releases; each is an exchange, so that what
// was released before is handed on by the word's chain.
#pragma once

#include <cstdint>

#include "arch/arch.h"
#include "weft/internal/atomic.h"

namespace weft::runtime {

struct G;

//    state        value  the stack belongs to
#define WEFT_G_STATES(S)                                              \
  S(Gidle, 0)      /* nobody: it has none        */                   \
  S(Grunnable, 1)  /* the G; it is in a run queue */                  \
  S(Grunning, 2)   /* the M that runs it         */                   \
  S(Gsyscall, 3)   /* its M, outside the scheduler */                 \
  S(Gwaiting, 4)   /* the G                      */                   \
  S(Gdead, 6)      /* nobody; the struct is in a list of dead ones */ \
  S(Gcopystack, 8) /* who put it there           */                   \
  S(Gpreempted, 9) /* the G; nobody readies it before a suspender claims it */

enum GState : uint32_t {
#define WEFT_G_STATE_ENUM(name, value) name = value,
  WEFT_G_STATES(WEFT_G_STATE_ENUM)
#undef WEFT_G_STATE_ENUM
      kScan = 0x1000,
  kStopWanted = 0x2000,
};

//    from        to          who makes it               stack belongs to   queued
#define WEFT_G_TRANSITIONS(T)                                                   \
  T(Gidle, Gdead)          /* its maker               nobody             no  */ \
  T(Gdead, Grunnable)      /* spawner                 the G (none yet)   yes */ \
  T(Grunnable, Grunning)   /* scheduler               the running M      no  */ \
  T(Grunning, Grunnable)   /* yield, preemption       the G              yes */ \
  T(Grunning, Gwaiting)    /* park                    the G              no  */ \
  T(Gwaiting, Grunnable)   /* readier                 the G              yes */ \
  T(Gwaiting, Grunning)    /* who waits on its thread that thread        no  */ \
  T(Grunning, Gsyscall)    /* entersyscall            its M              no  */ \
  T(Gsyscall, Grunning)    /* exitsyscall with a P    the running M      no  */ \
  T(Gsyscall, Grunnable)   /* exitsyscall without     the G              yes */ \
  T(Grunning, Gdead)       /* exit                    nobody             no  */ \
  T(Gwaiting, Gcopystack)  /* stack owner           who did it         no  */   \
  T(Grunnable, Gcopystack) /* stack owner           who did it         yes */   \
  T(Gcopystack, Gwaiting)  /* stack owner           the G              no  */   \
  T(Gcopystack, Grunnable) /* stack owner           the G              yes */   \
  T(Grunning, Gpreempted)  /* preempted M           the G              no  */   \
  T(Gpreempted, Gwaiting)  /* a suspender, claiming the suspender      no  */

// The state alone.
constexpr uint32_t StateOf(uint32_t status) {
  return status & ~uint32_t{kScan | kStopWanted};
}

constexpr bool IsTransition(uint32_t from, uint32_t to) {
#define WEFT_G_TRANSITION_CHECK(f, t) \
  if (from == f && to == t) return true;
  WEFT_G_TRANSITIONS(WEFT_G_TRANSITION_CHECK)
#undef WEFT_G_TRANSITION_CHECK
  return false;
}

const char* GStateName(uint32_t status);

// suspend.cc. Rule 5.
void TellSuspenders();

// The waiting half of CasGStatus.
void CasGStatusSlow(G* g, GState from, GState to);

// A G's status word. Only the functions below touch it.
class GStatusWord {
 public:
  uint32_t Read() const {
    // Pairs with every transition: who sees a state sees what its maker wrote before.
    return word_.Load(os::kAcquire<"status.read">);
  }

 private:
  template <GState from, GState to>
  friend void CasGStatus(G* g);
  friend bool CasToGScanStatus(G* g, GState from);
  friend void CasFromGScanStatus(G* g, GState to);
  friend GState CasGCopyStack(G* g);
  friend void CasGToPreemptScan(G* g);
  friend bool CasGFromPreempted(G* g);
  friend bool CasGWantStop(G* g);
  friend void CasGStatusSlow(G* g, GState from, GState to);

  os::Atomic<uint32_t> word_{Gidle};
};

uint32_t ReadGStatus(const G* g);

// Moves `g` from `from` to `to`, waiting while somebody holds the scan bit (rule 2).
template <GState from, GState to>
void CasGStatus(G* g);

// Takes the scan bit over `from`. False: the G is not in that state now.
[[nodiscard]] bool CasToGScanStatus(G* g, GState from);
// Gives it back; the G goes on in `to`, where it was.
void CasFromGScanStatus(G* g, GState to);

// Takes Gwaiting or Grunnable, whichever it is when it succeeds, to Gcopystack, and says which.
[[nodiscard]] GState CasGCopyStack(G* g);

// Sets kStopWanted on Grunning. False: the G is not plainly Grunning now.
[[nodiscard]] bool CasGWantStop(G* g);
// Grunning -> Gscan|Gpreempted: locked until the M has let go of the G (3f834114).
void CasGToPreemptScan(G* g);
// Gpreempted -> Gwaiting: the caller becomes responsible for readying it. False: somebody else
// did.
[[nodiscard]] bool CasGFromPreempted(G* g);

}  // namespace weft::runtime
