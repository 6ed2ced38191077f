// One pointer a goroutine (or plain thread) for the public layer: its context.
#pragma once

namespace weft::runtime {

void* CurrentContextSlot();
void SetCurrentContextSlot(void* slot);

}  // namespace weft::runtime
