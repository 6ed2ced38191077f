// A kernel for the netpoller under the explorer, in place of runtime/os/epoll.cc and uring.cc:
// sockets, eventfds, one epoll set, rings.
//
// A system call is one step of the schedule; a sleep in one ends when another thread's call ends
// it. Calls order what the kernel's own locks order, and no more: who sends comes before who reaps
// the report, or receives; who receives nothing comes before who sends then.
//
// As in Linux: descriptors are numbers, reused lowest first; files live for as long as a descriptor
// or a ring's poll refers to them. The epoll set refers to none, and tells of changes. A ring's
// polls take their file when they are submitted; what it has to say waits until its owner enters.
// A poll that is cancelled says so after the cancellation has, last of all.
#pragma once

#include <cstdint>

namespace weft::model {

// A connection's near end. The far end knows it by its file.
struct Socket {
  int fd;
  int file;
};
Socket OpenSocket();
// The far end sends something; nothing happens if nobody refers to the file any more.
void Send(int file);
// What has come, at once: true. False: nothing yet. Fails the run if the socket is not open.
bool Receive(int fd);
// How many refer to the file: descriptors, rings' polls.
int References(int file);
// The far end has been told that nothing comes any more.
bool IsOver(int file);
// Sleeps until nobody refers to it.
void AwaitRelease(int file);

// How many of its polls' reports an enter brings at most; the next one brings more.
void LimitReports(int reports);
// The epoll set takes one connection, any, no more.
void RefuseOneEntry();
// One report, any, may be the last of its multishot poll.
void EndOnePoll();

// The state between runs, and again as it was then.
void KeepKernel();
void RestoreKernel();

}  // namespace weft::model
