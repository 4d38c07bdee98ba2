// A vsock device with a guest that speaks to it through its queues, and a host that takes what is handed out.
// The device's loop runs on its own thread, as in envvm.
#pragma once

#include "driver.h"
#include "virtio/vsock.h"
#include "virtio/vsock_packet.h"

#define GUEST_CID    3u
#define HOST_PORT    1024u
#define GUEST_PORT   5000u
#define RX_BUFFERS   8u
#define RX_BYTES     4096u
#define FEATURES     (VIRTIO_VERSION_1 | 1u)
#define ACCEPTED_MAX 1100u

enum { RX = 0, TX = 1, EVENT = 2 };

extern struct driver driver;
extern struct virtio_vsock *vsock;
extern uint32_t guest_buf_alloc, guest_fwd_cnt; // what guest packets say
extern int accept_rc;                           // what accepting says
extern unsigned n_accepted;                     // atomic
extern int accepted[ACCEPTED_MAX];              // host ends, in order; closed by the teardown unless -1
extern uint32_t accepted_port[ACCEPTED_MAX];

int vsock_setup(void **state);         // with receive buffers
int vsock_setup_starved(void **state); // without
int vsock_teardown(void **state);
void post_rx_buffers(void);

// A packet of the guest from GUEST_PORT to HOST_PORT, or any other.
struct vsock_packet guest_packet(uint16_t op);
void guest_sends_packet(const struct vsock_packet *p, const void *data, uint32_t payload_bytes);
void guest_sends(uint16_t op);
void guest_sends_flags(uint16_t op, uint32_t flags);
void guest_sends_data(const void *data, uint32_t len);
// Waits for the next packet to the guest; its payload goes to data (RX_BYTES). The buffer is posted again.
struct vsock_packet guest_gets(void *data);
// The same, and checks what it is.
struct vsock_packet guest_gets_op(uint16_t op);
// Without waiting: false when there is none.
bool guest_gets_now(struct vsock_packet *ret);
// True when the guest gets nothing for a while.
bool guest_gets_nothing(void);
// Connects and returns the host's end.
int guest_connects(void);
int guest_connects_from(uint32_t guest_port);
extern uint32_t given_buf_alloc; // what the connection made last may send ahead
// Reads exactly len bytes, waiting.
void host_gets(int fd, void *data, size_t len);
// Waits for the end of the stream.
void host_gets_end(int fd);
void host_sends(int fd, const void *data, size_t len);
