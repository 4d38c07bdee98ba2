// virtio-console (virtio 1.2, section 5.3). Called by the loop through device.c, by the machine and by the
// live console; knows a sink, not what becomes of the bytes, and not who types.
//
// A request on the transmit queue is a chain of device-readable buffers: bytes, no header; one on the receive
// queue is a chain of device-writable ones, given back with as much as there was to type. Features: VERSION_1
// and SIZE; without MULTIPORT there are no control queues. `done` remembers how far an output chain larger
// than a round's work has been handed on, `refused` that input waits for receive buffers: only then is the
// driver asked to kick for them.
#include "virtio/console.h"

#include <errno.h>
#include <linux/virtio_console.h>
#include <stdlib.h>

#define CONSOLE_ID           3u
#define CONSOLE_QUEUE_SIZE   128u
#define CONSOLE_BUDGET       32u         // requests per round
#define CONSOLE_ROUND_MAX    (64u << 10) // bytes per round
#define CONSOLE_DRAIN_ROUNDS 16u
#define CONSOLE_CHUNK        4096u // bytes copied at a time
#define CONSOLE_F_SIZE       (1ull << VIRTIO_CONSOLE_F_SIZE)

enum { RX = 0, TX = 1 };

struct virtio_console {
    struct virtio_device dev; // first: ops get a pointer to it
    virtio_console_sink *sink;
    void *arg;
    uint64_t done;       // bytes of the request at the head of the queue that the sink has
    uint64_t round_left; // bytes that this round may still hand on
    struct virtio_console_config space;
    virtio_console_ready *ready; // may be NULL
    void *ready_arg;
    bool refused; // input was, since ready was last called
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

static void receive_buffers_came(struct virtio_console *console)
{
    ring_kicks_off(virtio_device_ring(&console->dev, RX)); // until they run out
    if (console->refused && console->ready) {
        console->refused = false;
        console->ready(console->ready_arg);
    }
}

static bool process(struct virtio_device *dev, unsigned queue)
{
    struct virtio_console *console = (struct virtio_console *)dev;
    if (queue == RX) {
        receive_buffers_came(console);
        return false;
    }
    console->round_left = CONSOLE_ROUND_MAX;
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
    .features = VIRTIO_VERSION_1 | CONSOLE_F_SIZE,
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
    int rc = virtio_device_init(&console->dev, &ops, machine, &console->space, sizeof console->space, err);
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

// Fills the next receive request. Returns the number of bytes it took, 0 when there is none or the device
// broke.
static size_t fill(struct virtio_console *console, const uint8_t *data, size_t len)
{
    struct ring *ring = virtio_device_ring(&console->dev, RX);
    struct ring_chain chain;
    int rc = ring_pop(ring, &chain);
    if (rc == 0 && ring_kicks_on(ring)) {
        ring_kicks_off(ring);
        rc = ring_pop(ring, &chain);
    }
    if (rc != 1)
        return 0;
    if (chain.n_readable > 0) {
        virtio_device_broken(&console->dev, "a console input request with readable buffers");
        return 0;
    }
    size_t n = ring_chain_write(&chain, 0, data, len);
    ring_publish(ring, chain.head, (uint32_t)n);
    return n;
}

size_t virtio_console_input(struct virtio_console *console, const void *data, size_t len)
{
    size_t done = 0;
    virtio_device_enter(&console->dev);
    // Ends by itself: a request takes a byte or more.
    for (size_t n = 1; n > 0 && done < len && virtio_device_live(&console->dev); done += n)
        n = fill(console, (const uint8_t *)data + done, len - done);
    console->refused = done < len;
    virtio_device_leave(&console->dev);
    return done;
}

void virtio_console_on_ready(struct virtio_console *console, virtio_console_ready *ready, void *arg)
{
    console->ready = ready;
    console->ready_arg = arg;
}

void virtio_console_resize(struct virtio_console *console, uint16_t cols, uint16_t rows)
{
    virtio_device_enter(&console->dev);
    console->space.cols = cols;
    console->space.rows = rows;
    virtio_device_config_changed(&console->dev);
    virtio_device_leave(&console->dev);
}
