// Owns the driver's side of the tests: see driver.h.
#include "driver.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define AVAIL_OFFSET 0x800u
#define USED_OFFSET  0xa00u
#define WAIT_STEPS   50000u
#define WAIT_STEP_US 100u

static void must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        abort();
    }
}

static void on_raise(void *arg)
{
    struct driver *d = arg;
    __atomic_add_fetch(&d->raised, 1, __ATOMIC_SEQ_CST);
}

static void on_broken(void *arg, const char *device, const char *why)
{
    (void)device;
    struct driver *d = arg;
    __atomic_store_n(&d->broken, why, __ATOMIC_SEQ_CST);
}

void driver_init(struct driver *d)
{
    struct err err;
    *d = (struct driver){.heap = DRIVER_HEAP_GPA, .end_fd = -1};
    must(guest_memory_init(&d->memory, DRIVER_MEMORY_BYTES, GUEST_MEMORY_SMALL_PAGES, &err) == 0,
         "guest memory");
    d->loop = loop_new();
    must(d->loop != NULL, "loop");
    d->machine = (struct virtio_machine){
        .memory = &d->memory, .loop = d->loop, .raise = on_raise, .broken = on_broken, .arg = d};
}

void driver_done(struct driver *d)
{
    loop_free(d->loop);
    guest_memory_done(&d->memory);
}

void driver_attach(struct driver *d, struct virtio_device *dev)
{
    d->dev = dev;
    virtio_mmio_init(&d->mmio, dev);
}

uint32_t driver_read(struct driver *d, uint32_t offset)
{
    uint32_t value;
    virtio_mmio_read(&d->mmio, offset, &value, sizeof value);
    return value;
}

void driver_write(struct driver *d, uint32_t offset, uint32_t value)
{
    virtio_mmio_write(&d->mmio, offset, &value, sizeof value);
}

void driver_negotiate(struct driver *d, uint64_t features)
{
    driver_write(d, VIRTIO_MMIO_STATUS, 0);
    driver_write(d, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    driver_write(d, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    for (unsigned half = 0; half < 2; half++) {
        driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
        driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> (32 * half)));
    }
    driver_write(d, VIRTIO_MMIO_STATUS,
                 VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
}

struct ring_config driver_queue_config(unsigned queue)
{
    return (struct ring_config){
        .size = DRIVER_QUEUE_SIZE,
        .desc_gpa = DRIVER_QUEUE_GPA(queue),
        .avail_gpa = DRIVER_QUEUE_GPA(queue) + AVAIL_OFFSET,
        .used_gpa = DRIVER_QUEUE_GPA(queue) + USED_OFFSET,
    };
}

void driver_setup_queue(struct driver *d, unsigned queue)
{
    struct ring_config c = driver_queue_config(queue);
    driver_write(d, VIRTIO_MMIO_QUEUE_SEL, queue);
    driver_write(d, VIRTIO_MMIO_QUEUE_NUM, c.size);
    driver_write(d, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)c.desc_gpa);
    driver_write(d, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(c.desc_gpa >> 32));
    driver_write(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)c.avail_gpa);
    driver_write(d, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(c.avail_gpa >> 32));
    driver_write(d, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)c.used_gpa);
    driver_write(d, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(c.used_gpa >> 32));
    driver_write(d, VIRTIO_MMIO_QUEUE_READY, 1);
}

void driver_start(struct driver *d, uint64_t features)
{
    driver_negotiate(d, features);
    for (unsigned q = 0; q < d->dev->ops->n_queues; q++)
        driver_setup_queue(d, q);
    driver_write(d, VIRTIO_MMIO_STATUS, driver_read(d, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
}

void driver_preset(struct driver *d, uint64_t features)
{
    struct ring_config queues[VIRTIO_QUEUES_MAX];
    struct err err;
    for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++)
        queues[q] = driver_queue_config(q);
    must(virtio_device_preset(d->dev, features, queues, d->dev->ops->n_queues, &err) == 0, "preset");
}

void driver_clear_rings(struct driver *d)
{
    for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++) {
        memset(driver_at(d, DRIVER_QUEUE_GPA(q), 0x1000), 0, 0x1000);
        d->next_desc[q] = d->next_avail[q] = d->next_used[q] = 0;
    }
}

uint64_t driver_alloc(struct driver *d, uint32_t len)
{
    uint64_t gpa = d->heap;
    d->heap += (len + 15u) & ~15u;
    must(d->heap <= DRIVER_MEMORY_BYTES, "the driver's heap is too small");
    return gpa;
}

void *driver_at(struct driver *d, uint64_t gpa, uint32_t len)
{
    void *p = guest_memory_at(&d->memory, gpa, len);
    must(p != NULL, "the driver's own address");
    return p;
}

uint64_t driver_copy(struct driver *d, const void *data, uint32_t len)
{
    uint64_t gpa = driver_alloc(d, len);
    memcpy(driver_at(d, gpa, len), data, len);
    return gpa;
}

static struct vring_avail *avail_of(struct driver *d, unsigned queue)
{
    return driver_at(d, DRIVER_QUEUE_GPA(queue) + AVAIL_OFFSET, sizeof(struct vring_avail));
}

static struct vring_used *used_of(struct driver *d, unsigned queue)
{
    return driver_at(d, DRIVER_QUEUE_GPA(queue) + USED_OFFSET, sizeof(struct vring_used));
}

static struct vring_desc *table_of(struct driver *d, unsigned queue)
{
    return driver_at(d, DRIVER_QUEUE_GPA(queue), (uint32_t)sizeof(struct vring_desc) * DRIVER_QUEUE_SIZE);
}

static struct vring_desc descriptor(const struct driver_buffer *b, bool more, unsigned next)
{
    uint16_t flags = b->writable ? VRING_DESC_F_WRITE : 0;
    return (struct vring_desc){.addr = b->gpa,
                               .len = b->len,
                               .flags = more ? flags | VRING_DESC_F_NEXT : flags,
                               .next = (uint16_t)next};
}

static void make_available(struct driver *d, unsigned queue, uint16_t head)
{
    struct vring_avail *avail = avail_of(d, queue);
    __atomic_store_n(&avail->ring[d->next_avail[queue]++ % DRIVER_QUEUE_SIZE], head, __ATOMIC_RELAXED);
    // Release: pairs with the device's acquire of idx. Sequentially consistent for driver_kick()'s look at
    // the flags.
    __atomic_store_n(&avail->idx, d->next_avail[queue], __ATOMIC_SEQ_CST);
}

uint16_t driver_push(struct driver *d, unsigned queue, const struct driver_buffer *buffers, unsigned n)
{
    uint16_t head = d->next_desc[queue] % DRIVER_QUEUE_SIZE;
    for (unsigned i = 0; i < n; i++) {
        uint16_t at = d->next_desc[queue]++ % DRIVER_QUEUE_SIZE;
        table_of(d, queue)[at] = descriptor(&buffers[i], i + 1 < n, (at + 1u) % DRIVER_QUEUE_SIZE);
    }
    make_available(d, queue, head);
    return head;
}

uint16_t driver_push_table(struct driver *d, unsigned queue, uint64_t gpa,
                           const struct driver_buffer *buffers, unsigned n)
{
    uint32_t bytes = n * (uint32_t)sizeof(struct vring_desc);
    uint16_t head = d->next_desc[queue]++ % DRIVER_QUEUE_SIZE;
    for (unsigned i = 0; i < n; i++) {
        struct vring_desc entry = descriptor(&buffers[i], i + 1 < n, i + 1u);
        memcpy(driver_at(d, gpa + i * sizeof entry, sizeof entry), &entry, sizeof entry);
    }
    table_of(d, queue)[head] = (struct vring_desc){.addr = gpa, .len = bytes, .flags = VRING_DESC_F_INDIRECT};
    make_available(d, queue, head);
    return head;
}

uint16_t driver_push_out(struct driver *d, unsigned queue, const void *data, uint32_t len)
{
    struct driver_buffer b = {.gpa = driver_copy(d, data, len), .len = len};
    return driver_push(d, queue, &b, 1);
}

uint16_t driver_push_in(struct driver *d, unsigned queue, uint64_t gpa, uint32_t len)
{
    struct driver_buffer b = {.gpa = gpa, .len = len, .writable = true};
    return driver_push(d, queue, &b, 1);
}

uint16_t driver_used_flags(struct driver *d, unsigned queue)
{
    return __atomic_load_n(&used_of(d, queue)->flags, __ATOMIC_SEQ_CST);
}

void driver_set_avail_flags(struct driver *d, unsigned queue, uint16_t flags)
{
    __atomic_store_n(&avail_of(d, queue)->flags, flags, __ATOMIC_SEQ_CST);
}

bool driver_kick(struct driver *d, unsigned queue)
{
    if (driver_used_flags(d, queue) & VRING_USED_F_NO_NOTIFY)
        return false;
    driver_write(d, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
    return true;
}

bool driver_used(struct driver *d, unsigned queue, uint16_t *ret_head, uint32_t *ret_len)
{
    struct vring_used *used = used_of(d, queue);
    if (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == d->next_used[queue])
        return false;
    const struct vring_used_elem *e = &used->ring[d->next_used[queue]++ % DRIVER_QUEUE_SIZE];
    *ret_head = (uint16_t)__atomic_load_n(&e->id, __ATOMIC_RELAXED);
    *ret_len = __atomic_load_n(&e->len, __ATOMIC_RELAXED);
    return true;
}

static void on_end(void *arg, uint32_t events)
{
    (void)events;
    loop_stop(arg);
}

static void *run(void *arg)
{
    loop_run(arg);
    return NULL;
}

void driver_run_loop(struct driver *d)
{
    d->end_fd = eventfd(0, EFD_CLOEXEC);
    must(d->end_fd >= 0, "eventfd");
    d->end = loop_add(d->loop, d->end_fd, EPOLLIN, on_end, d->loop);
    must(d->end != NULL, "loop_add");
    must(pthread_create(&d->thread, NULL, run, d->loop) == 0, "thread");
    d->running = true;
}

void driver_stop_loop(struct driver *d)
{
    if (!d->running)
        return;
    must(eventfd_write(d->end_fd, 1) == 0, "eventfd");
    pthread_join(d->thread, NULL);
    loop_remove(d->end);
    close(d->end_fd);
    d->running = false;
}

bool driver_wait_used(struct driver *d, unsigned queue, uint16_t *ret_head, uint32_t *ret_len)
{
    for (unsigned i = 0; i < WAIT_STEPS; i++) {
        if (driver_used(d, queue, ret_head, ret_len))
            return true;
        usleep(WAIT_STEP_US);
    }
    return false;
}

const char *driver_wait_broken(struct driver *d)
{
    const char *why = NULL;
    for (unsigned i = 0; i < WAIT_STEPS && !why; i++) {
        why = __atomic_load_n(&d->broken, __ATOMIC_SEQ_CST);
        usleep(WAIT_STEP_US);
    }
    return why;
}
