#include "runtime/context_slot.h"

#include "runtime/g.h"

namespace weft::runtime {

void* CurrentContextSlot() {
  return Current()->context_slot;
}
void SetCurrentContextSlot(void* slot) {
  Current()->context_slot = slot;
}

}  // namespace weft::runtime
