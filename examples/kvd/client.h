// ServeClient: one client's commands, one after the other, on one stream.
#pragma once

#include "daemon/serve.h"
#include "kvd/commands.h"
#include "weft/io.h"

namespace kvd {

// Serves until the client or the daemon ends it, or the client breaks the protocol. All commands
// that one read brought are answered by one write. An idle client costs no buffer.
void ServeClient(weft::io::Stream& stream, Server& server, const examples::Ending& ending);

}  // namespace kvd
