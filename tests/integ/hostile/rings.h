// Raw access to a cell's virtqueues and doorbells from an ordinary program: a cell has one address space, so
// a program can reach what its kernel uses. Only for programs that attack.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/cell.h"

#define BOOT   ((volatile struct cell_boot *)(uintptr_t)CELL_BOOT_GPA)
#define SHARED ((volatile struct cell_shared *)(uintptr_t)CELL_SHARED_GPA)

struct raw_desc {
    uint64_t gpa;
    uint32_t len;
    uint16_t flags, next;
};

#define DESC_NEXT  1
#define DESC_WRITE 2

// Index of the first device of this virtio type, or -1.
static inline int raw_device(uint32_t type)
{
    for (uint32_t i = 0; i < BOOT->n_devices && i < CELL_DEVICES_MAX; i++)
        if (BOOT->devices[i].type == type)
            return (int)i;
    return -1;
}

static inline void raw_kick(int device, uint32_t queue)
{
    *(volatile uint32_t *)(uintptr_t)(BOOT->devices[device].mmio_gpa + 0x50) = queue;
}

static inline volatile struct raw_desc *raw_table(int device, uint32_t queue)
{
    return (volatile struct raw_desc *)(uintptr_t)BOOT->devices[device].queue_gpa[queue];
}

// Makes the chain that starts at descriptor head available and tells the device.
static inline void raw_submit(int device, uint32_t queue, uint16_t head)
{
    volatile uint16_t *avail =
        (volatile uint16_t *)(uintptr_t)(BOOT->devices[device].queue_gpa[queue] + CELL_QUEUE_AVAIL);
    avail[2 + avail[1] % CELL_QUEUE_SIZE] = head;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    avail[1]++;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    raw_kick(device, queue);
}

// Waits, not for ever, until the device has taken all but a few requests.
static inline void raw_settle(int device, uint32_t queue)
{
    uint64_t at = BOOT->devices[device].queue_gpa[queue];
    volatile uint16_t *avail = (volatile uint16_t *)(uintptr_t)(at + CELL_QUEUE_AVAIL);
    volatile uint16_t *used = (volatile uint16_t *)(uintptr_t)(at + CELL_QUEUE_USED);
    for (unsigned i = 0; i < 1000000 && (uint16_t)(avail[1] - used[1]) > 32; i++)
        __asm__ volatile("pause");
}

// Sends one buffer as a single-descriptor chain, as fast as the device takes them.
static inline void raw_send(int device, uint32_t queue, const void *data, uint32_t len)
{
    static uint16_t next = 64; // away from the kernel's own first descriptors
    uint16_t head = next = next % CELL_QUEUE_SIZE;
    volatile struct raw_desc *d = &raw_table(device, queue)[head];
    d->gpa = (uint64_t)(uintptr_t)data;
    d->len = len;
    d->flags = 0;
    d->next = 0;
    next++;
    raw_submit(device, queue, head);
    raw_settle(device, queue);
}
