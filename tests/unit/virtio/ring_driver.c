// See ring_driver.h.
#include "ring_driver.h"

#include <errno.h>

struct guest_memory memory;
struct ring ring;
struct ring_chain chain;

struct vring_desc *desc(void)
{
    return guest_memory_at(&memory, DESC_GPA, sizeof(struct vring_desc) * RING_SIZE_MAX);
}

struct vring_avail *avail(void)
{
    return guest_memory_at(&memory, AVAIL_GPA, 4096);
}

struct vring_used *used(void)
{
    return guest_memory_at(&memory, USED_GPA, 4096);
}

void set_desc(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    desc()[i] = (struct vring_desc){.addr = addr, .len = len, .flags = flags, .next = next};
}

void make_available(uint16_t head)
{
    avail()->ring[avail()->idx % SIZE] = head;
    avail()->idx++;
}

void assert_broken(const char *why)
{
    assert_int_equal(ring_pop(&ring, &chain), -EPROTO);
    assert_string_equal(ring.broken, why);
}

int ring_driver_setup(const struct ring_config *config)
{
    struct err err;
    return guest_memory_init(&memory, MEMORY_BYTES, GUEST_MEMORY_SMALL_PAGES, &err) < 0
               ? -1
               : ring_enable(&ring, &memory, config);
}

int ring_driver_teardown(void **state)
{
    (void)state;
    guest_memory_done(&memory);
    return 0;
}
