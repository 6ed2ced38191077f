// Plain fields: an access that nothing orders after another's fails the run.
#include <cstring>

#include "tests/model/engine.h"

namespace weft::model {

namespace {
[[noreturn]] void Race(const char* what, int other) {
  Fail("data race", "plain field: %s, unordered with %s", what, engine.thread[other].name);
}

inline void Renew(PlainState& p) {
  if (p.run == current_run) return;
  p.run = current_run;
  p.writer = 0;
  p.write_clock = 0;
  p.destroyed = false;
  memset(p.reads, 0, sizeof(p.reads));
}

inline void CheckWriter(PlainState& p, Thread& t, const char* what) {
  if (p.destroyed) Fail("use after free", "plain field: %s after its end", what);
  if (p.write_clock > t.now.Clock(p.writer)) Race(what, p.writer);
}
}  // namespace

void PlainMade(PlainState& p) {
  p.run = 0;
  Renew(p);
  p.writer = engine.running->id;
  p.write_clock = engine.running->now.Clock(p.writer);
}

void PlainDestroyed(PlainState& p) {
  PlainWrite(p);
  p.destroyed = true;
}

void PlainRead(PlainState& p) {
  Renew(p);
  Thread& t = *engine.running;
  CheckWriter(p, t, "read after a write");
  p.reads[t.id] = t.now.Clock(t.id);
}

Clocks StampReads() {
  return engine.running->now.vector[0];
}

void CommitRead(PlainState& p, const Clocks& stamp) {
  Renew(p);
  const uint16_t* clocks = reinterpret_cast<const uint16_t*>(&stamp);
  if (p.write_clock > clocks[p.writer]) Race("speculative read with a write", p.writer);
  const Thread& t = *engine.running;
  if (p.reads[t.id] < clocks[t.id]) p.reads[t.id] = clocks[t.id];
}

void PlainWrite(PlainState& p) {
  Renew(p);
  Thread& t = *engine.running;
  CheckWriter(p, t, "write after a write");
  for (int i = 0; i < engine.threads; i++) {
    if (p.reads[i] > t.now.Clock(i)) Race("write after a read", i);
  }
  p.writer = t.id;
  p.write_clock = t.now.Clock(t.id);
}

}  // namespace weft::model
