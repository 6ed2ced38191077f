#include "kvd/blob.h"

#include <cstring>
#include <new>

namespace kvd {

Blob::Blob(std::string_view bytes) {
  void* memory = ::operator new(sizeof(Block) + bytes.size());
  block_ = new (memory) Block{{1}, static_cast<uint32_t>(bytes.size())};
  char* const there = static_cast<char*>(memory) + sizeof(Block);
  if (!bytes.empty()) std::memcpy(there, bytes.data(), bytes.size());
}

void Blob::Free(Block* block) {
  block->~Block();
  ::operator delete(block);
}

}  // namespace kvd
