// From what an operation came to, to the Status that its caller gets.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "net/outcome.h"
#include "weft/context.h"
#include "weft/net.h"

namespace weft::net::internal {

// "read tcp 127.0.0.1:80->127.0.0.1:1234: Connection reset by peer"; an empty address is left
// out. `outcome` < 0.
absl::Status OperationError(std::string_view operation, std::string_view network,
                            const Address& local, const Address& remote, Outcome outcome,
                            const Context& ctx);

// The same for anything that has a name of its own (a path, a host). `kind` is what was closed,
// if `outcome` is kClosed.
absl::Status NamedError(std::string_view operation, std::string_view name, Outcome outcome,
                        const Context& ctx, const char* kind = "connection");

}  // namespace weft::net::internal
