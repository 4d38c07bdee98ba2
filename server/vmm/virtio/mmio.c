// Owns the virtio-mmio register file (virtio 1.2, section 4.2.2): which offset means what, and how wide
// accesses may be. Called by vCPU threads; everything a register does is in transport.c.
#include "virtio/mmio.h"

#include <string.h>

#include <linux/virtio_mmio.h>

#include "common/checked.h"
#include "virtio/transport.h"

#define MAGIC            0x74726976u // "virt"
#define VERSION          2u
#define VENDOR           0x64766e65u // "envd"
#define NO_SHARED_REGION 0xffffffffu

typedef uint32_t read_register(struct virtio_mmio *mmio);
typedef void write_register(struct virtio_mmio *mmio, uint32_t value);

void virtio_mmio_init(struct virtio_mmio *mmio, struct virtio_device *dev)
{
    *mmio = (struct virtio_mmio){.dev = dev};
}

static uint32_t read_magic(struct virtio_mmio *mmio)
{
    (void)mmio;
    return MAGIC;
}

static uint32_t read_version(struct virtio_mmio *mmio)
{
    (void)mmio;
    return VERSION;
}

static uint32_t read_device_id(struct virtio_mmio *mmio)
{
    return mmio->dev->ops->id;
}

static uint32_t read_vendor(struct virtio_mmio *mmio)
{
    (void)mmio;
    return VENDOR;
}

static uint32_t read_device_features(struct virtio_mmio *mmio)
{
    uint32_t half = mmio->device_features_sel;
    return half < 2 ? (uint32_t)(mmio->dev->features >> (32 * half)) : 0;
}

static void write_device_features_sel(struct virtio_mmio *mmio, uint32_t value)
{
    mmio->device_features_sel = value;
}

static void write_driver_features(struct virtio_mmio *mmio, uint32_t value)
{
    virtio_device_write_features(mmio->dev, mmio->driver_features_sel, value);
}

static void write_driver_features_sel(struct virtio_mmio *mmio, uint32_t value)
{
    mmio->driver_features_sel = value;
}

static void write_queue_sel(struct virtio_mmio *mmio, uint32_t value)
{
    mmio->queue_sel = value;
}

static uint32_t read_queue_size_max(struct virtio_mmio *mmio)
{
    return mmio->queue_sel < mmio->dev->ops->n_queues ? mmio->dev->ops->queue_size_max : 0;
}

static void write_queue_size(struct virtio_mmio *mmio, uint32_t value)
{
    struct ring_config config = virtio_device_queue_config(mmio->dev, mmio->queue_sel);
    config.size = value <= UINT16_MAX ? (uint16_t)value : 0; // 0 is refused when the queue is made ready
    virtio_device_write_queue(mmio->dev, mmio->queue_sel, &config);
}

static uint32_t read_queue_ready(struct virtio_mmio *mmio)
{
    return virtio_device_ready(mmio->dev, mmio->queue_sel);
}

static void write_queue_ready(struct virtio_mmio *mmio, uint32_t value)
{
    virtio_device_write_ready(mmio->dev, mmio->queue_sel, value & 1);
}

static void write_queue_notify(struct virtio_mmio *mmio, uint32_t value)
{
    virtio_device_notify(mmio->dev, value);
}

static uint32_t read_interrupt_status(struct virtio_mmio *mmio)
{
    return virtio_device_interrupt_status(mmio->dev);
}

static void write_interrupt_ack(struct virtio_mmio *mmio, uint32_t value)
{
    virtio_device_acknowledge(mmio->dev, value);
}

static uint32_t read_status(struct virtio_mmio *mmio)
{
    return virtio_device_status(mmio->dev);
}

static void write_status(struct virtio_mmio *mmio, uint32_t value)
{
    // Bits above the register's eight cannot be written back, so they are nonsense, not zero.
    virtio_device_write_status(mmio->dev, value <= UINT8_MAX ? (uint8_t)value : UINT8_MAX);
}

static uint64_t with_low(uint64_t address, uint32_t low)
{
    return (address & ~0xffffffffull) | low;
}

static uint64_t with_high(uint64_t address, uint32_t high)
{
    return (address & 0xffffffffull) | (uint64_t)high << 32;
}

#define ADDRESS_REGISTER(part, half)                                                                         \
    static void write_##part##_##half(struct virtio_mmio *mmio, uint32_t value)                              \
    {                                                                                                        \
        struct ring_config config = virtio_device_queue_config(mmio->dev, mmio->queue_sel);                  \
        config.part##_gpa = with_##half(config.part##_gpa, value);                                           \
        virtio_device_write_queue(mmio->dev, mmio->queue_sel, &config);                                      \
    }
ADDRESS_REGISTER(desc, low)
ADDRESS_REGISTER(desc, high)
ADDRESS_REGISTER(avail, low)
ADDRESS_REGISTER(avail, high)
ADDRESS_REGISTER(used, low)
ADDRESS_REGISTER(used, high)

static uint32_t read_shared_region(struct virtio_mmio *mmio)
{
    (void)mmio;
    return NO_SHARED_REGION;
}

static uint32_t read_config_generation(struct virtio_mmio *mmio)
{
    return virtio_device_generation(mmio->dev);
}

// By offset / 4. A direction that is NULL reads as zero or ignores the write.
static const struct {
    read_register *read;
    write_register *write;
} registers[VIRTIO_MMIO_CONFIG / 4] = {
    [VIRTIO_MMIO_MAGIC_VALUE / 4] = {read_magic, NULL},
    [VIRTIO_MMIO_VERSION / 4] = {read_version, NULL},
    [VIRTIO_MMIO_DEVICE_ID / 4] = {read_device_id, NULL},
    [VIRTIO_MMIO_VENDOR_ID / 4] = {read_vendor, NULL},
    [VIRTIO_MMIO_DEVICE_FEATURES / 4] = {read_device_features, NULL},
    [VIRTIO_MMIO_DEVICE_FEATURES_SEL / 4] = {NULL, write_device_features_sel},
    [VIRTIO_MMIO_DRIVER_FEATURES / 4] = {NULL, write_driver_features},
    [VIRTIO_MMIO_DRIVER_FEATURES_SEL / 4] = {NULL, write_driver_features_sel},
    [VIRTIO_MMIO_QUEUE_SEL / 4] = {NULL, write_queue_sel},
    [VIRTIO_MMIO_QUEUE_NUM_MAX / 4] = {read_queue_size_max, NULL},
    [VIRTIO_MMIO_QUEUE_NUM / 4] = {NULL, write_queue_size},
    [VIRTIO_MMIO_QUEUE_READY / 4] = {read_queue_ready, write_queue_ready},
    [VIRTIO_MMIO_QUEUE_NOTIFY / 4] = {NULL, write_queue_notify},
    [VIRTIO_MMIO_INTERRUPT_STATUS / 4] = {read_interrupt_status, NULL},
    [VIRTIO_MMIO_INTERRUPT_ACK / 4] = {NULL, write_interrupt_ack},
    [VIRTIO_MMIO_STATUS / 4] = {read_status, write_status},
    [VIRTIO_MMIO_QUEUE_DESC_LOW / 4] = {NULL, write_desc_low},
    [VIRTIO_MMIO_QUEUE_DESC_HIGH / 4] = {NULL, write_desc_high},
    [VIRTIO_MMIO_QUEUE_AVAIL_LOW / 4] = {NULL, write_avail_low},
    [VIRTIO_MMIO_QUEUE_AVAIL_HIGH / 4] = {NULL, write_avail_high},
    [VIRTIO_MMIO_QUEUE_USED_LOW / 4] = {NULL, write_used_low},
    [VIRTIO_MMIO_QUEUE_USED_HIGH / 4] = {NULL, write_used_high},
    [VIRTIO_MMIO_SHM_LEN_LOW / 4] = {read_shared_region, NULL},
    [VIRTIO_MMIO_SHM_LEN_HIGH / 4] = {read_shared_region, NULL},
    [VIRTIO_MMIO_SHM_BASE_LOW / 4] = {read_shared_region, NULL},
    [VIRTIO_MMIO_SHM_BASE_HIGH / 4] = {read_shared_region, NULL},
    [VIRTIO_MMIO_CONFIG_GENERATION / 4] = {read_config_generation, NULL},
};

static bool is_register(uint64_t offset, uint32_t len)
{
    return offset < VIRTIO_MMIO_CONFIG && offset % 4 == 0 && len == 4;
}

static bool is_config(uint64_t offset, uint32_t len)
{
    return offset >= VIRTIO_MMIO_CONFIG && range_inside(offset, len, VIRTIO_MMIO_BYTES) && len > 0 &&
           len <= 8 && (len & (len - 1)) == 0 && offset % len == 0;
}

void virtio_mmio_read(struct virtio_mmio *mmio, uint64_t offset, void *out, uint32_t len)
{
    memset(out, 0, len);
    if (is_config(offset, len)) {
        virtio_device_config_read(mmio->dev, offset - VIRTIO_MMIO_CONFIG, out, len);
    } else if (is_register(offset, len) && registers[offset / 4].read) {
        uint32_t value = registers[offset / 4].read(mmio);
        memcpy(out, &value, sizeof value);
    }
}

void virtio_mmio_write(struct virtio_mmio *mmio, uint64_t offset, const void *data, uint32_t len)
{
    if (is_config(offset, len)) {
        virtio_device_config_write(mmio->dev, offset - VIRTIO_MMIO_CONFIG, data, len);
    } else if (is_register(offset, len) && registers[offset / 4].write) {
        uint32_t value;
        memcpy(&value, data, sizeof value);
        registers[offset / 4].write(mmio, value);
    }
}
