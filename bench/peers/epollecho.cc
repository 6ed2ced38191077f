// epollecho PORT: a TCP echo server on one thread and one level-triggered epoll set, by hand.
//
// The plainest loop there is: wait for up to 512 events, read once, write once.
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

int Listen(int port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd, 4096) != 0) {
    perror("epollecho");
    exit(1);
  }
  return fd;
}

void Watch(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: epollecho PORT\n");
    return 2;
  }
  static char buffer[65536];
  int listener = Listen(atoi(argv[1]));
  int epoll = epoll_create1(0);
  Watch(epoll, listener);
  for (;;) {
    epoll_event events[512];
    int count = epoll_wait(epoll, events, 512, -1);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) {
        int accepted = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
        if (accepted >= 0) Watch(epoll, accepted);
        continue;
      }
      ssize_t bytes = read(fd, buffer, sizeof buffer);
      if (bytes <= 0) {
        close(fd);
        continue;
      }
      // Echo messages are small and their sender waits for them: the socket buffer has room.
      (void)!write(fd, buffer, static_cast<size_t>(bytes));
    }
  }
}
