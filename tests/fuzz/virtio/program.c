// Owns the interpreter of fuzz inputs: see program.h.
#include "program.h"

#include <linux/virtio_mmio.h>
#include <string.h>

#include "step_loop.h"

#define DATA_GPA  0x10000u // behind what 16-bit addresses reach, so that WRITE does not spoil it by chance
#define PUSH_MAX  8u
#define TABLE_GPA 0x20000u

struct cursor {
    const uint8_t *at;
    size_t left;
};

static uint64_t take(struct cursor *c, size_t bytes)
{
    uint64_t v = 0;
    size_t n = bytes < c->left ? bytes : c->left;
    memcpy(&v, c->at, n);
    c->at += n;
    c->left -= n;
    return v;
}

static const uint8_t *take_bytes(struct cursor *c, uint8_t *n)
{
    const uint8_t *bytes = c->at;
    if (*n > c->left)
        *n = (uint8_t)c->left;
    c->at += *n;
    c->left -= *n;
    return bytes;
}

static void op_write(struct driver *d, struct cursor *c)
{
    uint64_t gpa = take(c, 2);
    uint8_t n = (uint8_t)take(c, 1);
    const uint8_t *bytes = take_bytes(c, &n);
    if (n > 0)
        memcpy(driver_at(d, gpa, n), bytes, n);
}

static void op_push(struct driver *d, struct cursor *c, bool table)
{
    struct driver_buffer b[PUSH_MAX];
    unsigned queue = take(c, 1) % VIRTIO_QUEUES_MAX;
    unsigned n = 1 + (unsigned)take(c, 1) % PUSH_MAX;
    for (unsigned i = 0; i < n; i++) {
        b[i].writable = take(c, 1) & 1;
        b[i].gpa = take(c, 2);
        b[i].len = (uint32_t)take(c, 2);
    }
    if (table)
        driver_push_table(d, queue,
                          TABLE_GPA + 0x100u * (d->next_avail[queue] % DRIVER_QUEUE_SIZE) + 0x1000u * queue,
                          b, n);
    else
        driver_push(d, queue, b, n);
}

static void op_data(struct driver *d, struct cursor *c)
{
    unsigned queue = take(c, 1) % VIRTIO_QUEUES_MAX;
    uint8_t n = (uint8_t)take(c, 1);
    const uint8_t *bytes = take_bytes(c, &n);
    uint64_t gpa = DATA_GPA + 0x100u * (d->next_avail[queue] % DRIVER_QUEUE_SIZE) + 0x1000u * queue;
    struct driver_buffer b = {.gpa = gpa, .len = n};
    if (n > 0)
        memcpy(driver_at(d, gpa, n), bytes, n);
    driver_push(d, queue, &b, 1);
}

static void op_mmio(struct driver *d, struct cursor *c, bool read)
{
    uint64_t offset = take(c, 2), value;
    uint32_t len = 1u << (take(c, 1) & 3);
    if (read) {
        virtio_mmio_read(&d->mmio, offset, &value, len);
    } else {
        value = take(c, 8);
        virtio_mmio_write(&d->mmio, offset, &value, len);
    }
}

void program_run(struct driver *d, const uint8_t *data, size_t size,
                 void (*host)(uint8_t what, const uint8_t *bytes, uint8_t n))
{
    struct cursor c = {data, size};
    bool all = false;
    driver_start(d, d->dev->ops->features);
    while (c.left > 0) {
        enum program_op op = take(&c, 1) % PROGRAM_OP_COUNT;
        if (op == PROGRAM_WRITE)
            op_write(d, &c);
        else if (op == PROGRAM_PUSH || op == PROGRAM_TABLE)
            op_push(d, &c, op == PROGRAM_TABLE);
        else if (op == PROGRAM_DATA)
            op_data(d, &c);
        else if (op == PROGRAM_PROCESS)
            virtio_device_process(d->dev, take(&c, 1) % d->dev->ops->n_queues);
        else if (op == PROGRAM_ROUND)
            step_loop_round(d->loop);
        else if (op == PROGRAM_MMIO || op == PROGRAM_READ)
            op_mmio(d, &c, op == PROGRAM_READ);
        else if (op == PROGRAM_RESTART) {
            driver_write(d, VIRTIO_MMIO_STATUS, 0);
            driver_clear_rings(d);
            all = !all;
            driver_start(d, all ? d->dev->features : d->dev->ops->features);
        } else {
            uint8_t what = (uint8_t)take(&c, 1), n = (uint8_t)take(&c, 1);
            const uint8_t *bytes = take_bytes(&c, &n);
            if (host)
                host(what, bytes, n);
        }
    }
}
