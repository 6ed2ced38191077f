#include "tests/model/netpoll_world.h"

#include <cstring>
#include <memory>

#include "runtime/os/futex.h"

namespace weft::model {

namespace {

using netpoll::Desc;
using netpoll::Netpoll;
using netpoll::Ring;
using runtime::GQueue;
using runtime::M;
using runtime::P;
using runtime::Runtime;

constexpr int kMs = 2;
constexpr int kDescs = 3;

// Lives through all runs; what a run changes is put back by copying the image.
struct Parts {
  Runtime runtime;
  Netpoll netpoll;
  M threads[kMs];
  Ring rings[kMs];
  Desc descs[kDescs];
};

alignas(Parts) unsigned char memory[sizeof(Parts)];
std::unique_ptr<unsigned char[]> image;
P procs[kMs];  // only held

Parts* Here() {
  return reinterpret_cast<Parts*>(memory);
}

void Install() {
  runtime::the_runtime = &Here()->runtime;
  netpoll::the_netpoll = &Here()->netpoll;
}

void Uninstall() {
  runtime::the_runtime = nullptr;
  netpoll::the_netpoll = nullptr;
}

void MakeMs(Parts* s) {
  for (int i = 0; i < kMs; i++) {
    M* m = &s->threads[i];
    m->id = i + 1;
    m->locks = 1;
    m->curg = &m->g0;
    m->p = &procs[i];
    s->rings[i].owner = m;
    m->ring.Store(&s->rings[i], os::kRelaxed<"world.init">);
    Check(netpoll::RingOf(m) == &s->rings[i], "an M has its ring");
  }
}

// Between runs, so that atomics are plain memory.
void MakeImage() {
  Parts* s = new (memory) Parts;
  Install();
  s->runtime.poller = netpoll::ThePoller();
  s->runtime.procs.Store(kMs, os::kRelaxed<"world.init">);
  s->netpoll.use_rings = true;
  s->netpoll.shared.Open();
  s->netpoll.shared_wake_fd = os::OpenEvent();
  s->netpoll.shared.AddLevel(s->netpoll.shared_wake_fd, os::kPollIn, 0);
  for (Desc& d : s->descs) netpoll::FreeDesc(&d);
  MakeMs(s);
  Uninstall();
  KeepKernel();
  image = std::make_unique<unsigned char[]>(sizeof(Parts));
  memcpy(image.get(), memory, sizeof(Parts));
}

}  // namespace

NetpollWorld::NetpollWorld() {
  if (image == nullptr) Fail("harness", "no image");
  memcpy(memory, image.get(), sizeof(Parts));
  RestoreKernel();
  Install();
}

NetpollWorld::~NetpollWorld() {
  Uninstall();
}

M* NetpollWorld::m(int i) {
  return &Here()->threads[i];
}

Ring* NetpollWorld::ring(int i) {
  return &Here()->rings[i];
}

void NetpollWorld::Be(int i) {
  runtime::weft_set_m(m(i));
}

Connection NetpollWorld::Connect() {
  Connection c = {OpenSocket(), nullptr, 0};
  netpoll::Open(c.socket.fd, netpoll::Kind::kStream, nullptr, &c.desc);
  c.token = c.desc->Token();
  for (os::Atomic<uintptr_t>& word : c.desc->word) {
    word.Store(netpoll::kNil, os::kRelaxed<"test.word">);  // a first try was in vain
  }
  return c;
}

Connection NetpollWorld::ConnectByHand() {
  const Connection c = Connect();
  c.desc->registered.Store(true, os::kRelaxed<"test.registered">);
  return c;
}

Connection NetpollWorld::ConnectInRing(int i) {
  const Connection c = Connect();
  Be(i);
  Check(netpoll::Register(c.desc) == 0, "it is registered");
  GQueue none;
  netpoll::ReadRing(ring(i), 0, false, &none);
  runtime::weft_set_m(nullptr);
  return c;
}

// As SleepIdle and WaitForP (wake.cc).
void NetpollWorld::Attend(int i) {
  Be(i);
  const runtime::Poller* poller = runtime::Rt()->poller;
  while (!ended_.Load(os::kRelaxed<"test.ended.attend">)) {
    const runtime::MSleep how = poller->choose_sleep(m(i));
    uint32_t awake = runtime::kAwake;
    if (!m(i)->sleep.CompareExchange(awake, how, os::kAcqRel<"test.sleep">)) {
      poller->done_sleeping(m(i), how);
    } else if (how == runtime::kOnFutex) {
      os::FutexWait(m(i)->sleep, how, -1);
    } else {
      (void)poller->sleep(m(i), how, -1);
    }
    m(i)->sleep.Exchange(runtime::kAwake, os::kAcqRel<"test.awake">);
  }
}

void NetpollWorld::End() {
  ended_.Store(true, os::kRelease<"test.end">);
  for (int i = 0; i < kMs; i++) runtime::WakeM(m(i));
}

bool NetpollWorld::Read(const Connection& c) {
  for (;;) {
    int error = 0;
    if (netpoll::Wait(c.desc, netpoll::Mode::kRead, &error) != netpoll::Result::kReady) {
      return false;
    }
    if (Receive(c.socket.fd)) return true;
  }
}

void NetpollWorld::Close(const Connection& c) {
  netpoll::Evict(c.desc);
  netpoll::Close(c.desc);
  os::CloseDescriptor(c.socket.fd);
}

void NetpollWorld::CheckEnd(int open) {
  for (int i = 0; i < kMs; i++) {
    if (!ring(i)->open) continue;
    Be(i);
    GQueue none;
    netpoll::ReadRing(ring(i), 0, false, &none);
  }
  runtime::weft_set_m(nullptr);
  int free = 0;
  for (Desc* d = netpoll::Np()->pool; d != nullptr; d = d->free_next) {
    if (++free > kDescs) Fail("assertion", "a descriptor is free twice");
  }
  Check(free == kDescs - open, "each descriptor that was closed is free");
}

namespace {
struct MakeImageOnce {
  MakeImageOnce() {
    MakeImage();
    OnLeave(Uninstall);
  }
} make_image_once;
}  // namespace

}  // namespace weft::model
