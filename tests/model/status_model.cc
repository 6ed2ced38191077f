// The status word: each pair of operations against each other, and three actors at once.
#include "runtime/g.h"
#include "tests/model/model.h"

namespace weft::model {
namespace {

using runtime::CasFromGScanStatus;
using runtime::CasGCopyStack;
using runtime::CasGFromPreempted;
using runtime::CasGStatus;
using runtime::CasGToPreemptScan;
using runtime::CasToGScanStatus;
using runtime::G;
using runtime::Gcopystack;
using runtime::Gdead;
using runtime::Gidle;
using runtime::Gpreempted;
using runtime::Grunnable;
using runtime::Grunning;
using runtime::GState;
using runtime::Gwaiting;
using runtime::kScan;
using runtime::ReadGStatus;

struct World {
  G g;
  os::Plain<int> stack = 0;  // belongs to whoever the status says
  os::Plain<int> scans = 0;

  void Touch() { stack = stack + 1; }
};

// What a G that waits has behind it; nobody else is there yet.
void BecomeWaiting(World& w) {
  CasGStatus<Gidle, Gdead>(&w.g);
  CasGStatus<Gdead, Grunnable>(&w.g);
  CasGStatus<Grunnable, Grunning>(&w.g);
  CasGStatus<Grunning, Gwaiting>(&w.g);
}

void ReadyIt(World& w) {
  CasGStatus<Gwaiting, Grunnable>(&w.g);
}

// Readied, run on another M, parked and readied again.
void Run(World& w) {
  CasGStatus<Grunnable, Grunning>(&w.g);
  w.Touch();
  CasGStatus<Grunning, Gwaiting>(&w.g);
  CasGStatus<Gwaiting, Grunnable>(&w.g);
}

void Scan(World& w) {
  for (int round = 0;; round++) {
    const uint32_t state = ReadGStatus(&w.g);
    const bool may = state == Gwaiting || state == Grunnable;
    if (may && CasToGScanStatus(&w.g, static_cast<GState>(state))) {
      w.Touch();
      w.scans = w.scans + 1;
      CasFromGScanStatus(&w.g, static_cast<GState>(state));
      return;
    }
    SpinPause();
  }
}

// The world is stopped: the G does not run, but the netpoller may ready it (2b62e1ea).
void Shrink(World& w) {
  const GState was = CasGCopyStack(&w.g);
  w.Touch();
  if (was == Gwaiting) {
    CasGStatus<Gcopystack, Gwaiting>(&w.g);
  } else {
    CasGStatus<Gcopystack, Grunnable>(&w.g);
  }
}

MODEL(status_ready_scan) {
  World w;
  BecomeWaiting(w);
  Spawn("readier", [&w] { ReadyIt(w); });
  Spawn("scanner", [&w] { Scan(w); });
  Join();
  Check(ReadGStatus(&w.g) == Grunnable && w.scans == 1, "readied and scanned");
}

MODEL(status_run_scan) {
  World w;
  BecomeWaiting(w);
  Spawn("runner", [&w] {
    ReadyIt(w);
    Run(w);
  });
  Spawn("scanner", [&w] { Scan(w); });
  Join();
  Check(ReadGStatus(&w.g) == Grunnable && w.stack == 2, "ran and was scanned");
}

MODEL(status_ready_shrink) {
  World w;
  BecomeWaiting(w);
  Spawn("readier", [&w] { ReadyIt(w); });
  Spawn("shrinker", [&w] { Shrink(w); });
  Join();
  Check(ReadGStatus(&w.g) == Grunnable && w.stack == 1, "readied and shrunk");
}

MODEL(status_three) {
  World w;
  BecomeWaiting(w);
  Spawn("readier", [&w] { ReadyIt(w); });
  Spawn("shrinker", [&w] { Shrink(w); });
  Spawn("scanner", [&w] { Scan(w); });
  Join();
  Check(ReadGStatus(&w.g) == Grunnable && w.stack == 2, "all have had their turn");
}

// What the readier wrote reaches who runs it, past a scanner between them.
MODEL(status_hand_on) {
  World w;
  os::Plain<int> message = 0;
  BecomeWaiting(w);
  Spawn("readier", [&w, &message] {
    message = 1;
    ReadyIt(w);
  });
  Spawn("scanner", [&w] { Scan(w); });
  Spawn("runner", [&w, &message] {
    while (runtime::StateOf(ReadGStatus(&w.g)) != Grunnable) SpinPause();
    Check(message == 1, "what came before is seen");
    CasGStatus<Grunnable, Grunning>(&w.g);
    w.Touch();
    CasGStatus<Grunning, Gwaiting>(&w.g);
    CasGStatus<Gwaiting, Grunnable>(&w.g);
  });
  Join();
  Check(w.stack == 2, "scanned and run");
}

MODEL(status_scan_shrink) {
  World w;
  BecomeWaiting(w);
  Spawn("scanner", [&w] { Scan(w); });
  Spawn("shrinker", [&w] { Shrink(w); });
  Join();
  Check(ReadGStatus(&w.g) == Gwaiting && w.stack == 2, "one after the other");
}

// A running goroutine is held still while it comes to a stop by itself.
MODEL(status_scan_preempt) {
  World w;
  BecomeWaiting(w);
  CasGStatus<Gwaiting, Grunnable>(&w.g);
  CasGStatus<Grunnable, Grunning>(&w.g);
  Spawn("itself", [&w] {
    CasGToPreemptScan(&w.g);
    Check(w.scans <= 1, "what the scanner did is seen");
    w.Touch();
    CasFromGScanStatus(&w.g, Gpreempted);
  });
  Spawn("scanner", [&w] {
    if (!CasToGScanStatus(&w.g, Grunning)) return;
    w.scans = w.scans + 1;
    CasFromGScanStatus(&w.g, Grunning);
  });
  Spawn("suspender", [&w] {
    while (!CasGFromPreempted(&w.g)) SpinPause();
    w.Touch();
  });
  Join();
  Check(w.stack == 2, "stopped and claimed");
}

MODEL(status_two_scanners) {
  World w;
  BecomeWaiting(w);
  Spawn("scanner1", [&w] { Scan(w); });
  Spawn("scanner2", [&w] { Scan(w); });
  Spawn("readier", [&w] { ReadyIt(w); });
  Join();
  Check(w.scans == 2, "one after the other");
}

// A preempted goroutine: its M lets go of it, one of two suspenders becomes responsible (3f834114).
MODEL(status_preempt) {
  World w;
  os::Plain<int> claims = 0;
  BecomeWaiting(w);
  CasGStatus<Gwaiting, Grunnable>(&w.g);
  CasGStatus<Grunnable, Grunning>(&w.g);
  Spawn("itself", [&w] {
    CasGToPreemptScan(&w.g);
    w.Touch();  // its M lets go
    CasFromGScanStatus(&w.g, Gpreempted);
  });
  const auto suspend = [&w, &claims] {
    while (ReadGStatus(&w.g) == Grunning || (ReadGStatus(&w.g) & kScan) != 0) SpinPause();
    if (!CasGFromPreempted(&w.g)) return;
    w.Touch();
    claims = claims + 1;
    CasGStatus<Gwaiting, Grunnable>(&w.g);
  };
  Spawn("suspender1", suspend);
  Spawn("suspender2", suspend);
  Join();
  Check(claims == 1, "one of them claims it");
}

}  // namespace
}  // namespace weft::model
