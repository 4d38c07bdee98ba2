// virtio-vsock in user space (virtio 1.2, section 5.10): stream connections that the guest opens to the host
// (CID 2) become socket pairs, whose other ends are handed out. Made by the machine, runs on the I/O thread.
#pragma once

#include <stdint.h>

#include "virtio/device.h"

#define VIRTIO_VSOCK_CONNECTIONS_MAX 64u

// The guest connected. fd is a non-blocking SOCK_STREAM socket, close-on-exec, and belongs to the callee now,
// whatever it returns. Closing it resets the connection, shutdown(SHUT_WR) ends one direction. 0 accepts;
// -errno refuses, and the guest sees a reset. I/O thread, device's lock held: must not block nor call back
// into the device.
typedef int virtio_vsock_accept(void *arg, uint32_t guest_port, uint32_t host_port, int fd);

struct virtio_vsock_options {
    uint64_t guest_cid;
    uint32_t port; // the only host port that accepts
    virtio_vsock_accept *accept;
    void *arg;
};

struct virtio_vsock;

// 0 or -errno.
int virtio_vsock_new(struct virtio_vsock **ret, const struct virtio_machine *machine,
                     const struct virtio_vsock_options *options, struct err *err);
// I/O thread, or when it has ended. Closes our ends of all connections. NULL is fine.
void virtio_vsock_free(struct virtio_vsock *vsock);
struct virtio_device *virtio_vsock_device(struct virtio_vsock *vsock);
// Drops every connection and tells the guest (a transport reset event): for a clone, whose peers never knew
// it. I/O thread.
void virtio_vsock_transport_reset(struct virtio_vsock *vsock);
