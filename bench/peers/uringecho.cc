// uringecho PORT: a TCP echo server on one thread and one io_uring, by hand.
//
// This is the 1.00 of the echo rows: multishot accept, multishot receive into a shared ring of
// buffers, sends queued while completions are read and submitted with the next wait, so that one
// system call serves a whole batch. No runtime can batch more than this on one thread.
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

constexpr unsigned kSubmissions = 4096;
constexpr unsigned kCompletions = 32768;  // more than connections x what each has in flight
constexpr unsigned kBuffers = 4096;       // a power of two: the kernel's ring is indexed by mask
constexpr unsigned kBufferBytes = 4096;
constexpr int kBufferGroup = 0;

// What a completion belongs to, packed into its user_data: 8 bits of kind, 24 of descriptor,
// 16 of buffer.
enum class Kind : unsigned { kAccept = 1, kReceive = 2, kSend = 3 };

struct Tag {
  Kind kind;
  int fd = 0;
  unsigned buffer = 0;

  __u64 Pack() const {
    return static_cast<__u64>(kind) | static_cast<__u64>(static_cast<unsigned>(fd)) << 8 |
           static_cast<__u64>(buffer) << 32;
  }
  static Tag Unpack(__u64 data) {
    return {static_cast<Kind>(data & 0xff), static_cast<int>(data >> 8 & 0xffffff),
            static_cast<unsigned>(data >> 32 & 0xffff)};
  }
};

[[noreturn]] void Fail(const char* what, int error) {
  fprintf(stderr, "uringecho: %s: %s\n", what, strerror(error));
  exit(1);
}

int Listen(int port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) Fail("bind", errno);
  if (listen(fd, 4096) != 0) Fail("listen", errno);
  return fd;
}

class Server {
 public:
  explicit Server(int listener) : listener_(listener) {
    io_uring_params params{};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE;
    params.cq_entries = kCompletions;
    int rc = io_uring_queue_init_params(kSubmissions, &ring_, &params);
    if (rc != 0) Fail("io_uring_queue_init", -rc);
    RegisterBuffers();
    Accept();
  }

  [[noreturn]] void Run() {
    for (;;) {
      io_uring_submit_and_wait(&ring_, 1);
      unsigned head;
      unsigned seen = 0;
      io_uring_cqe* cqe;
      io_uring_for_each_cqe(&ring_, head, cqe) {
        seen++;
        Complete(*cqe);
      }
      io_uring_cq_advance(&ring_, seen);
    }
  }

 private:
  void RegisterBuffers() {
    void* memory = nullptr;
    if (posix_memalign(&memory, 4096, kBuffers * sizeof(io_uring_buf)) != 0) Fail("memory", ENOMEM);
    buffer_ring_ = static_cast<io_uring_buf_ring*>(memory);
    memset(buffer_ring_, 0, kBuffers * sizeof(io_uring_buf));
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<__u64>(buffer_ring_);
    registration.ring_entries = kBuffers;
    registration.bgid = kBufferGroup;
    int rc = io_uring_register_buf_ring(&ring_, &registration, 0);
    if (rc != 0) Fail("io_uring_register_buf_ring", -rc);

    bytes_ = static_cast<char*>(malloc(size_t{kBuffers} * kBufferBytes));
    io_uring_buf_ring_init(buffer_ring_);
    for (unsigned i = 0; i < kBuffers; i++) AddBuffer(i, static_cast<int>(i));
    io_uring_buf_ring_advance(buffer_ring_, kBuffers);
  }

  char* Buffer(unsigned i) { return bytes_ + size_t{i} * kBufferBytes; }

  void AddBuffer(unsigned i, int offset) {
    io_uring_buf_ring_add(buffer_ring_, Buffer(i), kBufferBytes, static_cast<unsigned short>(i),
                          kBuffers - 1, offset);
  }

  void ReturnBuffer(unsigned i) {
    AddBuffer(i, 0);
    io_uring_buf_ring_advance(buffer_ring_, 1);
  }

  io_uring_sqe* NextSqe() {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) {  // full: what is queued goes out first
      io_uring_submit(&ring_);
      sqe = io_uring_get_sqe(&ring_);
    }
    return sqe;
  }

  void Accept() {
    io_uring_sqe* sqe = NextSqe();
    io_uring_prep_multishot_accept(sqe, listener_, nullptr, nullptr, 0);
    sqe->user_data = Tag{Kind::kAccept}.Pack();
  }

  void Receive(int fd) {
    io_uring_sqe* sqe = NextSqe();
    io_uring_prep_recv(sqe, fd, nullptr, 0, 0);
    sqe->ioprio |= IORING_RECV_MULTISHOT;
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = kBufferGroup;
    sqe->user_data = Tag{Kind::kReceive, fd}.Pack();
  }

  void Send(int fd, unsigned buffer, int bytes) {
    io_uring_sqe* sqe = NextSqe();
    io_uring_prep_send(sqe, fd, Buffer(buffer), static_cast<size_t>(bytes), 0);
    sqe->user_data = Tag{Kind::kSend, fd, buffer}.Pack();
  }

  void Complete(const io_uring_cqe& cqe) {
    Tag tag = Tag::Unpack(cqe.user_data);
    bool more = (cqe.flags & IORING_CQE_F_MORE) != 0;  // the multishot goes on
    switch (tag.kind) {
      case Kind::kAccept:
        if (cqe.res >= 0) Receive(cqe.res);
        if (!more) Accept();
        break;
      case Kind::kReceive:
        if (cqe.res > 0) {
          Send(tag.fd, cqe.flags >> IORING_CQE_BUFFER_SHIFT, cqe.res);
          if (!more) Receive(tag.fd);
        } else if (cqe.res == -ENOBUFS) {
          Receive(tag.fd);
        } else {
          close(tag.fd);
        }
        break;
      case Kind::kSend:
        ReturnBuffer(tag.buffer);
        break;
    }
  }

  int listener_;
  io_uring ring_{};
  io_uring_buf_ring* buffer_ring_ = nullptr;
  char* bytes_ = nullptr;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: uringecho PORT\n");
    return 2;
  }
  Server(Listen(atoi(argv[1]))).Run();
}
