// Holding one goroutine still; see suspend.cc.
#pragma once

#include "runtime/g.h"
#include "weft/park.h"

namespace weft::runtime {

// A goroutine that stands: its stack and saved registers belong to who suspended it.
struct Suspended {
  G* g;
  bool dead;     // there was nothing to suspend; it may be in use again already
  bool stopped;  // it was running: ResumeG readies it
};

// Waits until `g`, a goroutine, stands. On the system stack, with the M's own goroutine in Gwaiting
// or without one (AsWaiting): two that suspend each other would wait for ever otherwise. Each must
// be resumed before the M goes on to anything that waits for others.
// In Gsyscall (weft::Blocking) it computes on, and where its stack ends is not known: its status is
// held, its stack must not be touched.
[[nodiscard]] Suspended SuspendG(M* m, G* g);
void ResumeG(M* m, const Suspended& suspended);

// Runs fn(m, arg) on the system stack while the calling goroutine is Gwaiting for `reason`: it may
// be suspended meanwhile, and goes on only when it is resumed. `fn` returns with the P that it came
// with. What `arg` points to may lie on the goroutine's stack, which `fn` then uses: a suspender
// may read it, nobody may move it. On the system stack already: just calls fn. m->locks is 1.
void AsWaiting(M* m, WaitReason reason, void (*fn)(M* m, void* arg), void* arg);

// Suspends `g`, calls look(g, arg) on the system stack, and resumes it. False: it was dead, nothing
// was called. `look` must not wait for anything: what it waits for may be held by `g`. Otherwise as
// AsWaiting.
bool LookAt(M* m, G* g, void (*look)(G* g, void* arg), void* arg);

// The running goroutine has been switched away from because a suspender asked.
void PreemptPark(G* g);

}  // namespace weft::runtime
