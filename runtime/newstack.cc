// Polls in code that is compiled with -fsplit-stack.
//
// The problem. A goroutine that computes calls nothing of the runtime, so that it never sees that
// it shall stop. GCC's -fsplit-stack lets a function begin with a comparison of sp with a word of
// its thread, the slot, and call __morestack (arch/) when sp is below it. Weft's stacks do not grow
// by that: a slot holds 0, at which no function stops, or is poisoned, at which each does.
//
// Actors: T, the thread of an M, which runs goroutine G; whoever wants G to stop, S: sysmon, who
// stops the world, who suspends G; any number of them, one after the other under the M's slot_lock.
//   1. S makes its request (G's stackguard0, its status word or its P's flag), then, under
//      slot_lock, poisons T's slot (release).
//   2. T comes here from a prologue. It clears the slot (acquire), then serves what stackguard0
//      asks for, as every entry of the runtime does.
//   3. An M's thread gives its slot to the M when it begins, and takes it back, under slot_lock,
//      before it ends: nobody writes to a thread that is gone. It clears it then: libc gives a
//      thread's memory to the next without that.
// No request is lost while G stays on T. Either T's clearing reads what S, or an S after it, wrote,
// and T sees the request; or it came before, and the poison stands. If G moves, or a switch resets
// stackguard0 meanwhile, the slot is poisoned in vain, or S asks again: all of them do, every
// 100 us or with sysmon's next round.
//
// Not every prologue may stop: one on another stack than the goroutine's (a signal's, a foreign
// fiber's), one in the runtime's callbacks (m->locks), one in the child of a vfork or fork, which
// has its parent's thread-local words. Those clear the slot all the same, or each call after them
// would come here: who asked asks again.
//
// Budget: nothing while nobody asks; a poll that finds nothing to do is an exchange and a gettid.
#include "runtime/os/thread.h"
#include "runtime/sched.h"

namespace weft::runtime {

void GiveSlot(M* m) {
  os::Atomic<uintptr_t>* slot = os::PollSlot();
  if (slot == nullptr) return;
  slot->Store(0, os::kRelaxed<"slot.first">);  // nobody else knows it yet
  LockGuard guard(m->slot_lock);
  // Who finds it takes the lock, which orders it.
  m->poll_slot.Store(slot, os::kRelaxed<"slot.give">);
}

void TakeSlotBack(M* m) {
  // Its own.
  os::Atomic<uintptr_t>* slot = m->poll_slot.Load(os::kRelaxed<"slot.own">);
  if (slot == nullptr) return;
  {
    LockGuard guard(m->slot_lock);
    m->poll_slot.Store(nullptr, os::kRelaxed<"slot.back">);  // under the lock
  }
  slot->Store(0, os::kRelaxed<"slot.last">);
}

void PoisonSlot(M* m) {
  // Where there are none this is all. Under the lock it is looked at again.
  if (m->poll_slot.Load(os::kRelaxed<"slot.peek">) == nullptr) return;
  LockGuard guard(m->slot_lock);
  os::Atomic<uintptr_t>* slot = m->poll_slot.Load(os::kRelaxed<"slot.poison.own">);
  // Step 1; pairs with slot.clear.
  if (slot != nullptr) slot->Store(kStackPreempt, os::kRelease<"slot.poison">);
}

void PoisonSlotOf(G* g) {
  Runtime* rt = Rt();
  const int32_t procs = rt->procs.Load(os::kRelaxed<"slot.procs">);  // a hint, as what follows
  for (int32_t i = 0; i < procs; i++) {
    M* m = rt->all_ps[i]->m.Load(os::kAcquire<"slot.m">);  // as in PreemptOne
    if (m != nullptr && m->dump_curg.Load(os::kAcquire<"slot.g">) == g) PoisonSlot(m);
  }
}

bool ClearSlot(M* m) {
  // Its own. Acquire: the request behind the poison (step 2).
  os::Atomic<uintptr_t>* slot = m->poll_slot.Load(os::kRelaxed<"slot.served">);
  return slot->Exchange(0, os::kAcquire<"slot.clear">) != 0;
}

}  // namespace weft::runtime

using weft::runtime::Entry;
using weft::runtime::G;
using weft::runtime::GetM;
using weft::runtime::M;

// From __morestack; `sp` is where the function began.
extern "C" void weft_newstack(uintptr_t sp) {
  M* m = GetM();
  if (m == nullptr) return;
  weft::runtime::ClearSlot(m);
  const G* g = m->curg;
  if (m->locks != 0 || sp < g->stack.lo || sp >= g->stack.hi) return;
  const int error = weft::os::Errno();
  if (m->tid != weft::os::ThreadId()) return;
  { Entry poll; }
  // Perhaps of another thread.
  weft::os::SetErrno(error);
}
