// virtio-rng (virtio 1.2, 5.4): one queue; the device fills the buffer that it is given. The boot page has
// seeded the state already, so nobody waits for this one.
#include "drivers/rng.h"

#include "base/clock.h"
#include "base/random.h"
#include "base/string.h"
#include "drivers/virtqueue.h"

#define TYPE_ENTROPY  4
#define STIR_AGAIN_NS 1000000000u // a request costs an exit and a wake-up of envvm: not for each message id

static struct {
    struct virtqueue queue;
    bool ready, absent, in_flight;
    uint64_t not_before_ns;
    uint8_t buffer[64];
} rng;

void rng_request(void)
{
    uint64_t now = clock_monotonic_ns();
    if (rng.absent || rng.in_flight || now < rng.not_before_ns)
        return;
    rng.not_before_ns = now + STIR_AGAIN_NS;
    if (!rng.ready)
        rng.ready = virtqueue_init(&rng.queue, virtqueue_find_device(TYPE_ENTROPY), 0, false);
    rng.absent = !rng.ready;
    if (rng.absent)
        return;
    rng.in_flight = true;
    virtqueue_add(&rng.queue, 0, rng.buffer, sizeof rng.buffer, true);
    virtqueue_kick(&rng.queue);
}

bool rng_poll(void)
{
    uint16_t id;
    uint32_t len;
    if (!rng.in_flight || !virtqueue_take(&rng.queue, &id, &len))
        return false;
    rng.in_flight = false;
    random_stir(rng.buffer, len < sizeof rng.buffer ? len : sizeof rng.buffer);
    memset(rng.buffer, 0, sizeof rng.buffer);
    return true;
}
