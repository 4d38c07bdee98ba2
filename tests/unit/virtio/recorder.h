// A virtio device of the tests' own that records what it is asked, and the fixture around it.
#pragma once

#include <linux/virtio_config.h>

#include "driver.h"

#define ACKNOWLEDGE VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER      VIRTIO_CONFIG_S_DRIVER
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define FAILED      VIRTIO_CONFIG_S_FAILED
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define LIVE        (ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)
#define FEATURES    (VIRTIO_VERSION_1 | 1u << 5 | 1u << 16)

struct recorder {
    struct virtio_device dev;
    unsigned processed[2], resets, arms;
    enum virtio_served serve; // what it makes of requests
    bool break_it;
    uint8_t config[12];
    size_t wrote_offset, wrote_len;
};

// The fixture: both live from recorder_setup() to recorder_teardown().
extern struct driver driver;
extern struct recorder recorder;
extern const struct virtio_device_ops recorder_ops;

int recorder_setup(void **state);
int recorder_teardown(void **state);

// Brings the device into a state by the shortest way, through the registers.
void enter_state(enum virtio_state state);
void set_status(uint32_t value);
uint32_t status(void);
// True when it was rung; silences it.
bool doorbell_rings(unsigned queue);
