// Fences: what they make of what a thread knows, and tell the others.
#include <cstring>

#include "tests/model/views.h"

namespace weft::model {

namespace {
inline bool AreEqual(const View& a, const View& b, int vector) {
  const Vector differ = a.vector[vector] ^ b.vector[vector];
  uint64_t half[2];
  memcpy(half, &differ, sizeof(half));
  return (half[0] | half[1]) == 0;
}

// What a seq_cst fence learns, and tells.
void ExchangeSeqCst(Thread& t) {
  uint64_t learnt = 0;
  for (int first = 0; first < engine.lanes; first += kVectorLanes) {
    if (AreEqual(t.now, engine.seq_cst, 1 + first / kVectorLanes)) continue;
    for (int lane = first; lane < first + kVectorLanes && lane < engine.lanes; lane++) {
      uint16_t& here = t.now.At(lane);
      uint16_t& told = engine.seq_cst.At(lane);
      if (told > here) {
        learnt += PlaceHash(lane, told);
        here = told;
      } else if (here > told) {
        engine.seq_cst_hash += PlaceHash(lane, here) - PlaceHash(lane, told);
        told = here;
      }
    }
  }
  t.hash = Mixed(t.hash, learnt);
}

void FenceOn(Thread& t, MemoryOrder order) {
  if (Acquires(order)) Join(&t.now, t.unfenced, engine.vectors);
  if (order == MemoryOrder::kSeqCst) {
    ExchangeSeqCst(t);
  }
  if (Releases(order)) {
    Copy(&t.released, t.now);
    t.now.Clock(t.id)++;
  }
}
}  // namespace

void DoFence(Site& site) {
  if (site.order == MemoryOrder::kSeqCst) Point();  // the others are local
  site.kinds |= kIsFence;
  FenceOn(*engine.running, site.order);
  if (engine.trace) Trace("fence %s %s", OrderName(site.order), site.name);
}

void FenceAll() {
  Point();
  if (engine.trace) Trace("membarrier");
  for (int i = 0; i < engine.threads; i++) Mix(engine.thread[i].hash);
  const uint64_t told = engine.running->hash;
  Mix(told);
  FenceOn(*engine.running, MemoryOrder::kSeqCst);
  for (int i = 0; i < engine.threads; i++) {
    Thread& t = engine.thread[i];
    if (&t == engine.running) continue;
    const bool chosen = t.hash == t.chosen;
    t.hash = Mixed(t.hash, told);
    FenceOn(t, MemoryOrder::kSeqCst);
    if (chosen) t.chosen = t.hash;  // it has made no step by that
    // Its plain accesses since its last step may have come after the barrier.
    t.released.Clock(t.id)--;
  }
  FenceOn(*engine.running, MemoryOrder::kSeqCst);
}

}  // namespace weft::model
