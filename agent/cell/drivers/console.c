// virtio-console (virtio 1.2, 5.3): queue 1 is transmitq of port 0; a buffer is plain bytes. Output is copied
// into slots; the slot freed last is used first, so a quiet program touches one page. Notices are off unless
// somebody waits.
#include "drivers/console.h"

#include "base/string.h"
#include "base/wait.h"
#include "drivers/virtqueue.h"

#define TYPE_CONSOLE 3
#define QUEUE_TX     1
#define SLOT_BYTES   2048
#define SLOT_COUNT   32

static struct {
    struct virtqueue tx;
    bool present;
    uint8_t n_free;
    uint8_t free[SLOT_COUNT]; // a stack
} console;

static uint8_t slots[SLOT_COUNT][SLOT_BYTES] KERNEL_COLD;

void console_init(void)
{
    console.present = virtqueue_init(&console.tx, virtqueue_find_device(TYPE_CONSOLE), QUEUE_TX, true);
    for (uint8_t i = 0; i < SLOT_COUNT; i++)
        console.free[i] = (uint8_t)(SLOT_COUNT - 1 - i);
    console.n_free = SLOT_COUNT;
}

bool console_poll(void)
{
    uint16_t id;
    uint32_t len;
    bool any = false;
    while (console.present && virtqueue_take(&console.tx, &id, &len)) {
        if (console.n_free < SLOT_COUNT)
            console.free[console.n_free++] = (uint8_t)(id % SLOT_COUNT);
        any = true;
    }
    return any;
}

// Returns how much was taken.
static size_t push(const uint8_t *data, size_t n)
{
    size_t done = 0;
    while (done < n && console.n_free) {
        uint8_t id = console.free[--console.n_free];
        size_t part = n - done < SLOT_BYTES ? n - done : SLOT_BYTES;
        memcpy(slots[id], data + done, part);
        virtqueue_add(&console.tx, id, slots[id], (uint32_t)part, false);
        done += part;
    }
    virtqueue_kick(&console.tx);
    return done;
}

// Waits until at least n slots are free.
static void wait_for_slots(uint8_t n)
{
    virtqueue_set_quiet(&console.tx, false);
    while (console_poll(), console.n_free < n)
        wait_event(NEVER);
    virtqueue_set_quiet(&console.tx, true);
}

void console_write_nowait(const void *data, size_t n)
{
    if (!console.present)
        return;
    console_poll();
    push(data, n);
}

void console_write(const void *data, size_t n)
{
    if (!console.present)
        return;
    const uint8_t *p = data;
    console_poll();
    for (;;) {
        size_t done = push(p, n);
        if (done == n)
            return;
        p += done;
        n -= done;
        // Half of the slots at once: the device and the program then work in turns of a useful size.
        wait_for_slots(SLOT_COUNT / 2);
    }
}

void console_flush(void)
{
    if (console.present)
        wait_for_slots(SLOT_COUNT);
}
