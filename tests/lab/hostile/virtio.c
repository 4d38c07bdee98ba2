// Owns the hostile guest's driver: as much of virtio-mmio as lying needs. Called by its attacks.
#include "guest.h"

#define WINDOWS      24u
#define WINDOW_BYTES 0x1000u
#define MAGIC        0x74726976u
#define REG_ID       0x08u
#define REG_FEATURES 0x10u // and their selector behind
#define REG_DRIVER   0x20u
#define PATIENCE     300000u // reads of a register: many seconds

struct rings rings;
struct desc table[TABLE_SIZE];
uint8_t buffer[BUFFER_BYTES] __attribute__((aligned(4096)));

static const struct {
    uint32_t id;
    unsigned queue;
    const char *name;
} kinds[] = {
    {ID_NET, 1, "net"}, {ID_BLK, 0, "blk"},         {ID_CONSOLE, 1, "console"},
    {ID_RNG, 0, "rng"}, {ID_BALLOON, 0, "balloon"}, {ID_VSOCK, 1, "vsock"},
};

size_t devices_find(struct device *ret, size_t cap)
{
    size_t n = 0;
    for (unsigned w = 0; w < WINDOWS && n < cap; w++) {
        const uint64_t gpa = MMIO_GPA + w * WINDOW_BYTES;
        if (mmio_read(gpa) != MAGIC)
            continue;
        struct device d = {.gpa = gpa, .id = mmio_read(gpa + REG_ID), .name = "?"};
        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
            if (kinds[i].id != d.id)
                continue;
            d.queue = kinds[i].queue;
            d.name = kinds[i].name;
        }
        for (uint32_t half = 0; half < 2; half++) {
            mmio_write(gpa + REG_FEATURES + 4, half);
            d.features |= (uint64_t)mmio_read(gpa + REG_FEATURES) << (32 * half);
        }
        ret[n++] = d;
    }
    return n;
}

uint8_t device_status(const struct device *d)
{
    return (uint8_t)mmio_read(d->gpa + REG_STATUS);
}

bool device_reset(const struct device *d)
{
    mmio_write(d->gpa + REG_STATUS, 0);
    return device_status(d) == 0;
}

bool device_agree(const struct device *d, uint64_t features)
{
    bool reset = device_reset(d);
    mmio_write(d->gpa + REG_STATUS, STATUS_ACK);
    mmio_write(d->gpa + REG_STATUS, STATUS_ACK | STATUS_DRIVER);
    for (uint32_t half = 0; half < 2; half++) {
        mmio_write(d->gpa + REG_DRIVER + 4, half);
        mmio_write(d->gpa + REG_DRIVER, (uint32_t)(features >> (32 * half)));
    }
    mmio_write(d->gpa + REG_STATUS, STATUS_ACK | STATUS_DRIVER | STATUS_FEATURES_OK);
    return reset && device_status(d) == (STATUS_ACK | STATUS_DRIVER | STATUS_FEATURES_OK);
}

void queue_place(const struct device *d, unsigned queue, uint32_t size, uint64_t desc, uint64_t avail,
                 uint64_t used)
{
    const uint64_t addresses[] = {desc, avail, used};
    static const unsigned registers[] = {REG_DESC, REG_AVAIL, REG_USED};
    mmio_write(d->gpa + REG_QUEUE_SEL, queue);
    mmio_write(d->gpa + REG_QUEUE_SIZE, size);
    for (unsigned i = 0; i < 3; i++) {
        mmio_write(d->gpa + registers[i], (uint32_t)addresses[i]);
        mmio_write(d->gpa + registers[i] + 4, (uint32_t)(addresses[i] >> 32));
    }
    mmio_write(d->gpa + REG_READY, 1);
}

bool device_start(const struct device *d, unsigned queue, uint64_t features)
{
    __builtin_memset(&rings, 0, sizeof rings);
    if (!device_agree(d, features))
        return false;
    queue_place(d, queue, QUEUE_SIZE, (uint64_t)&rings.desc, (uint64_t)&rings.avail, (uint64_t)&rings.used);
    mmio_write(d->gpa + REG_STATUS, STATUS_ACK | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_OK);
    return device_status(d) == (STATUS_ACK | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_OK);
}

void device_kick(const struct device *d, unsigned queue)
{
    __asm__ volatile("mfence" ::: "memory");
    mmio_write(d->gpa + REG_NOTIFY, queue);
}

void device_offer(const struct device *d, unsigned queue)
{
    rings.avail.ring[rings.avail.idx % QUEUE_SIZE] = 0;
    __asm__ volatile("" ::: "memory");
    rings.avail.idx++;
    device_kick(d, queue);
}

bool device_breaks(const struct device *d)
{
    for (unsigned i = 0; i < PATIENCE; i++)
        if (device_status(d) & STATUS_NEEDS_RESET)
            return true;
    return false;
}

bool device_uses(const struct device *d, uint16_t used_idx)
{
    for (unsigned i = 0; i < PATIENCE; i++)
        if (__atomic_load_n(&rings.used.idx, __ATOMIC_ACQUIRE) == used_idx ||
            device_status(d) & STATUS_NEEDS_RESET)
            return true;
    return false;
}
