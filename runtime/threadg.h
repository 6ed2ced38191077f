// Plain threads that block in weft: each has a stand-in goroutine, with the same status word and
// the same park and ready, only that it is the thread that sleeps.
#pragma once

#include "runtime/g.h"

namespace weft::runtime {

// The calling plain thread's stand-in; made at the first call, freed when the thread ends.
G* ThreadG();
void ParkThread(ParkCommit commit, void* arg, WaitReason reason);
// Any thread. `g` stands for a thread.
void ReadyThread(G* g);
// The calling plain thread's own timer: while the thread is parked it looks itself, so that it
// needs no runtime. One at a time; `when` 0: none.
void SetThreadTimer(int64_t when, TimerFunction function, void* arg, uintptr_t seq);

}  // namespace weft::runtime
