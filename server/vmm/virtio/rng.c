// virtio-rng (virtio 1.2, section 5.4). Called by the loop through device.c; knows the kernel's getrandom()
// only.
//
// A request is a chain of device-writable buffers; the device fills some of it, at least a byte. One queue.
// No features beyond VERSION_1: none exist. States: serving, or waiting for the rate limit's timer.
#include "virtio/rng.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/io.h"
#include "virtio/rate.h"

#define RNG_ID          4u
#define RNG_QUEUE_SIZE  128u
#define RNG_BUDGET      8u    // requests per round
#define RNG_REQUEST_MAX 4096u // bytes given per request
#define RNG_BURST_MIN   4096u // bytes

struct virtio_rng {
    struct virtio_device dev; // first: ops get a pointer to it
    struct rate rate;         // bytes
    struct loop_source *timer;
    bool limited;
};

// Pure: NULL with the number of bytes to give, 1..RNG_REQUEST_MAX, or what is wrong. A chain holds no empty
// buffer.
static const char *parse(const struct ring_chain *chain, size_t *ret_bytes)
{
    if (chain->n_readable > 0)
        return "an entropy request with readable buffers";
    *ret_bytes = chain->writable_bytes < RNG_REQUEST_MAX ? chain->writable_bytes : RNG_REQUEST_MAX;
    return NULL;
}

// 0 or -errno.
static int fill(uint8_t *out, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = getrandom(out + done, len - done, GRND_NONBLOCK);
        if (n < 0 && errno != EINTR)
            return -errno;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static enum virtio_served serve(struct virtio_device *dev, const struct ring_chain *chain,
                                uint32_t *ret_written)
{
    struct virtio_rng *rng = (struct virtio_rng *)dev;
    rng->limited = !rate_ready(&rng->rate, io_monotonic_ns());
    if (rng->limited)
        return VIRTIO_BLOCKED;
    size_t len = 0;
    const char *wrong = parse(chain, &len);
    uint8_t bytes[RNG_REQUEST_MAX];
    if (!wrong && fill(bytes, len) < 0)
        wrong = "the host has no random numbers yet";
    if (wrong) {
        virtio_device_broken(dev, wrong);
        return VIRTIO_BLOCKED;
    }
    *ret_written = (uint32_t)ring_chain_write(chain, 0, bytes, len);
    rate_take(&rng->rate, len);
    return VIRTIO_SERVED;
}

static bool process(struct virtio_device *dev, unsigned queue)
{
    return virtio_device_serve(dev, queue, RNG_BUDGET, serve);
}

static void reset(struct virtio_device *dev)
{
    ((struct virtio_rng *)dev)->limited = false;
}

static void arm(struct virtio_device *dev)
{
    struct virtio_rng *rng = (struct virtio_rng *)dev;
    loop_timer_set(rng->timer, rng->limited && virtio_device_live(dev) ? rate_next_ns(&rng->rate) : 0);
}

static void on_timer(void *arg, uint32_t events)
{
    (void)events;
    virtio_device_process(arg, 0);
}

static const struct virtio_device_ops ops = {
    .name = "rng",
    .id = RNG_ID,
    .n_queues = 1,
    .queue_size_max = RNG_QUEUE_SIZE,
    .features = VIRTIO_VERSION_1,
    .process = process,
    .reset = reset,
    .arm = arm,
};

int virtio_rng_new(struct virtio_rng **ret, const struct virtio_machine *machine, uint64_t bytes_per_s,
                   struct err *err)
{
    struct virtio_rng *rng = calloc(1, sizeof *rng);
    if (!rng)
        return err_errno(err, -ENOMEM, "virtio-rng");
    rate_init(&rng->rate, bytes_per_s, RNG_BURST_MIN, io_monotonic_ns());
    int rc = virtio_device_init(&rng->dev, &ops, machine, NULL, 0, err);
    if (rc < 0)
        goto fail;
    rng->timer = loop_add_timer(machine->loop, on_timer, &rng->dev);
    if (!rng->timer) {
        rc = err_errno(err, -errno, "virtio-rng: make a timer");
        goto fail;
    }
    *ret = rng;
    return 0;
fail:
    virtio_rng_free(rng);
    return rc;
}

void virtio_rng_free(struct virtio_rng *rng)
{
    if (!rng)
        return;
    if (rng->timer)
        loop_remove(rng->timer);
    virtio_device_done(&rng->dev);
    free(rng);
}

struct virtio_device *virtio_rng_device(struct virtio_rng *rng)
{
    return &rng->dev;
}
