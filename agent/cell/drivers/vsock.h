// virtio-vsock: one stream at a time, from this guest to a port of the host: the agent's link. What arrives
// goes to agent.c; nothing here looks into it. All calls are asynchronous.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Gives the device its receive buffers. False: no such device.
bool vsock_init(void);
// Starts to connect to a port of the host; agent_on_host_up() or agent_on_host_down() follows. False: no
// device, or there is a stream already.
bool vsock_connect(uint32_t port);
// Ends the stream; no agent_on_host_down() follows. What was sent is still delivered.
void vsock_close(void);
// True while connected (not while connecting).
bool vsock_is_open(void);
// Takes what fits and returns how much; after a short count agent_on_host_writable() follows once there is
// room.
size_t vsock_send(const void *data, size_t n);
// Serves the device: true when it had something.
bool vsock_poll(void);
// Offers received bytes that were not taken once more.
void vsock_offer_input(void);
// Waits until the device has read everything that was sent, until deadline_ns at the latest.
void vsock_flush(uint64_t deadline_ns);
