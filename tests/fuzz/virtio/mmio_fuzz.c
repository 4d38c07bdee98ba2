// Fuzzes sequences of register accesses, with a device that serves every request (program.h).
#include <stdlib.h>
#include <string.h>

#include "program.h"

static struct virtio_device device;
static uint8_t config[24];

static enum virtio_served serve(struct virtio_device *dev, const struct ring_chain *chain,
                                uint32_t *ret_written)
{
    (void)dev;
    *ret_written = (uint32_t)ring_chain_write(chain, 0, config, sizeof config);
    return VIRTIO_SERVED;
}

static bool process(struct virtio_device *dev, unsigned queue)
{
    return virtio_device_serve(dev, queue, 8, serve);
}

static void reset(struct virtio_device *dev)
{
    (void)dev;
}

static void config_write(struct virtio_device *dev, size_t offset, const void *data, size_t len)
{
    (void)dev;
    memcpy(config + offset, data, len);
    virtio_device_config_changed(dev);
}

static const struct virtio_device_ops ops = {
    .name = "fuzzed",
    .id = 42,
    .n_queues = 2,
    .queue_size_max = 64,
    .features = VIRTIO_VERSION_1 | 0xff,
    .process = process,
    .reset = reset,
    .config_write = config_write,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct driver driver;
    struct err err;
    driver_init(&driver);
    if (virtio_device_init(&device, &ops, &driver.machine, config, sizeof config, &err) < 0)
        abort();
    driver_attach(&driver, &device);
    program_run(&driver, data, size, NULL);
    virtio_device_done(&device);
    driver_done(&driver);
    return 0;
}
