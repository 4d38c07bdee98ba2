// Owns the recording device and its fixture: see recorder.h.
#include "recorder.h"

#include <linux/virtio_mmio.h>
#include <string.h>
#include <sys/eventfd.h>

struct driver driver;
struct recorder recorder;

static enum virtio_served serve(struct virtio_device *dev, const struct ring_chain *chain,
                                uint32_t *ret_written)
{
    struct recorder *r = (struct recorder *)dev;
    if (r->break_it)
        virtio_device_broken(dev, "as the test wants");
    *ret_written = (uint32_t)chain->writable_bytes;
    return r->serve;
}

static bool process(struct virtio_device *dev, unsigned queue)
{
    ((struct recorder *)dev)->processed[queue]++;
    return virtio_device_serve(dev, queue, 4, serve);
}

static void on_reset(struct virtio_device *dev)
{
    ((struct recorder *)dev)->resets++;
}

static void arm(struct virtio_device *dev)
{
    ((struct recorder *)dev)->arms++;
}

static void config_write(struct virtio_device *dev, size_t offset, const void *data, size_t len)
{
    struct recorder *r = (struct recorder *)dev;
    memcpy(r->config + offset, data, len);
    r->wrote_offset = offset;
    r->wrote_len = len;
}

const struct virtio_device_ops recorder_ops = {
    .name = "recorder",
    .id = 42,
    .n_queues = 2,
    .queue_size_max = 64,
    .features = FEATURES,
    .process = process,
    .reset = on_reset,
    .arm = arm,
    .config_write = config_write,
};

int recorder_setup(void **state)
{
    (void)state;
    struct err err;
    driver_init(&driver);
    recorder = (struct recorder){.config = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};
    if (virtio_device_init(&recorder.dev, &recorder_ops, &driver.machine, recorder.config,
                           sizeof recorder.config, &err) < 0)
        return -1;
    driver_attach(&driver, &recorder.dev);
    return 0;
}

int recorder_teardown(void **state)
{
    (void)state;
    virtio_device_done(&recorder.dev);
    driver_done(&driver);
    return 0;
}

void set_status(uint32_t value)
{
    driver_write(&driver, VIRTIO_MMIO_STATUS, value);
}

uint32_t status(void)
{
    return driver_read(&driver, VIRTIO_MMIO_STATUS);
}

bool doorbell_rings(unsigned queue)
{
    eventfd_t n;
    return eventfd_read(virtio_device_doorbell(&recorder.dev, queue), &n) == 0;
}

void enter_state(enum virtio_state state)
{
    static const uint8_t way[][6] = {
        [VIRTIO_RESET] = {0},
        [VIRTIO_ACKNOWLEDGED] = {1},
        [VIRTIO_DRIVER] = {1, 3},
        [VIRTIO_FEATURES_OK] = {1, 3, 11},
        [VIRTIO_DRIVER_OK] = {1, 3, 11, 15},
        [VIRTIO_FAILED] = {1, 3, 11, 15, 15 | FAILED},
        [VIRTIO_BROKEN] = {1, 3, 11, 15, 1}, // clears bits
    };
    set_status(0);
    for (size_t i = 0; i < sizeof way[state] && way[state][i]; i++) {
        if (way[state][i] == 11)
            driver_negotiate(&driver, FEATURES);
        else
            set_status(way[state][i]);
    }
}
