// virtio-console (virtio 1.2, section 5.3). Called by the loop through device.c and by the machine at a
// guest's end; knows a sink, not what becomes of the bytes.
//
// A request on the transmit queue is a chain of device-readable buffers: bytes, no header. Receive buffers
// are accepted and kept: there is no input. No features beyond VERSION_1: without SIZE there is no window,
// without MULTIPORT there are no control queues. One state; `done` remembers how far a chain larger than a
// round's work has been handed on.
#include "virtio/console.h"

#include <errno.h>
#include <stdlib.h>

#define CONSOLE_ID           3u
#define CONSOLE_QUEUE_SIZE   128u
#define CONSOLE_BUDGET       32u         // requests per round
#define CONSOLE_ROUND_MAX    (64u << 10) // bytes per round
#define CONSOLE_DRAIN_ROUNDS 16u
#define CONSOLE_CHUNK        4096u // bytes copied at a time

enum { RX = 0, TX = 1 };

struct virtio_console {
    struct virtio_device dev; // first: ops get a pointer to it
    virtio_console_sink *sink;
    void *arg;
    uint64_t done;       // bytes of the request at the head of the queue that the sink has
    uint64_t round_left; // bytes that this round may still hand on
};

// Pure: NULL, or what is wrong.
static const char *parse(const struct ring_chain *chain)
{
    return chain->n_writable > 0 ? "a console output request with writable buffers" : NULL;
}

// Copies before handing on: the sink may look at its bytes more than once.
static void hand_on(struct virtio_console *console, const struct ring_chain *chain)
{
    uint8_t untrusted[CONSOLE_CHUNK];
    while (console->round_left > 0) {
        size_t want = console->round_left < sizeof untrusted ? console->round_left : sizeof untrusted;
        size_t n = ring_chain_read(chain, console->done, untrusted, want);
        if (n == 0)
            return;
        console->sink(console->arg, untrusted, n);
        console->done += n;
        console->round_left -= n;
    }
}

static enum virtio_served serve(struct virtio_device *dev, const struct ring_chain *chain,
                                uint32_t *ret_written)
{
    struct virtio_console *console = (struct virtio_console *)dev;
    const char *wrong = parse(chain);
    if (wrong) {
        virtio_device_broken(dev, wrong);
        return VIRTIO_BLOCKED;
    }
    hand_on(console, chain);
    // The guest may have shortened the chain since the last round; then it has lost its tail.
    if (console->done < chain->readable_bytes)
        return VIRTIO_PARTLY;
    console->done = 0;
    *ret_written = 0;
    return VIRTIO_SERVED;
}

static bool process(struct virtio_device *dev, unsigned queue)
{
    if (queue == RX) {
        ring_kicks_off(virtio_device_ring(dev, RX)); // no input: nothing to be told about
        return false;
    }
    ((struct virtio_console *)dev)->round_left = CONSOLE_ROUND_MAX;
    return virtio_device_serve(dev, TX, CONSOLE_BUDGET, serve);
}

static void reset(struct virtio_device *dev)
{
    ((struct virtio_console *)dev)->done = 0;
}

static const struct virtio_device_ops ops = {
    .name = "console",
    .id = CONSOLE_ID,
    .n_queues = 2,
    .queue_size_max = CONSOLE_QUEUE_SIZE,
    .features = VIRTIO_VERSION_1,
    .process = process,
    .reset = reset,
};

int virtio_console_new(struct virtio_console **ret, const struct virtio_machine *machine,
                       virtio_console_sink *sink, void *arg, struct err *err)
{
    struct virtio_console *console = calloc(1, sizeof *console);
    if (!console)
        return err_errno(err, -ENOMEM, "virtio-console");
    console->sink = sink;
    console->arg = arg;
    int rc = virtio_device_init(&console->dev, &ops, machine, NULL, 0, err);
    if (rc < 0) {
        virtio_console_free(console);
        return rc;
    }
    *ret = console;
    return 0;
}

void virtio_console_free(struct virtio_console *console)
{
    if (!console)
        return;
    virtio_device_done(&console->dev);
    free(console);
}

struct virtio_device *virtio_console_device(struct virtio_console *console)
{
    return &console->dev;
}

void virtio_console_drain(struct virtio_console *console)
{
    // Enough for every request that the queue holds, or for 1 MiB.
    for (unsigned i = 0; i < CONSOLE_DRAIN_ROUNDS && virtio_device_process(&console->dev, TX); i++)
        ;
}
