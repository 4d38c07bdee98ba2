// virtio-net: frames in and out, one at a time. Called by net/net.c.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_FRAME_MAX 1514u

// Gives the device its receive buffers. Without a device nothing arrives and nothing can be sent.
void net_driver_init(void);
// The next received frame, the driver's until net_driver_return(), which must follow each.
bool net_driver_receive(const uint8_t **ret_frame, size_t *ret_len);
void net_driver_return(void);
// Where to put a frame of len bytes; NULL when it is too long or the ring is full. net_driver_send() sends
// it.
uint8_t *net_driver_frame(size_t len);
void net_driver_send(size_t len);
// Rings the doorbells that are due.
void net_driver_flush(void);
