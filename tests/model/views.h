// What threads and messages know of each location, lane by lane.
#pragma once

#include "tests/model/engine.h"

namespace weft::model {

inline Vector Max(Vector a, Vector b) {
  return a > b ? a : b;
}

// Only the first engine.vectors count; a message's view may have fewer.
inline void Join(View* into, const View& from, int vectors) {
  for (int i = 0; i < vectors; i++) into->vector[i] = Max(into->vector[i], from.vector[i]);
}
inline void Copy(View* into, const View& from) {
  for (int i = 0; i < engine.vectors; i++) into->vector[i] = from.vector[i];
}

inline uint64_t PlaceHash(int lane, uint16_t place) {
  return Mixed(engine.lane[lane].identity, place);
}

}  // namespace weft::model
