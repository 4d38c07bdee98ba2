// virtio-balloon (virtio 1.2, section 5.5). Called by the loop through device.c and by the machine; knows
// guest memory through its checked translation, and madvise().
//
//   queue 0, inflate: device-readable buffers, an array of u32 page numbers (4 KiB pages): given back to the
//   host queue 1, deflate: the same: the guest uses them again, which needs nothing: they fault in as zeroes
//   queue 4, reporting: device-writable buffers, each a range of free pages: given back to the host
//
// Features: VERSION_1, DEFLATE_ON_OOM, PAGE_POISON, REPORTING. Without STATS_VQ and FREE_PAGE_HINT queues 2
// and 3 do not exist (section 5.5.2). Linux up to 6.10 numbers the queues that exist without holes and so
// reports on 2: every queue behind the first two is a reporting queue here.
//
// PAGE_POISON: free pages that read as anything but zero after a report would break the guest's promise to
// itself, so once the driver named a pattern other than zero, reports are answered and change nothing
// (section 5.5.6.5.1).
//
// What a guest may name is bounded by guest_memory_at(), each round by bytes and page numbers; doing it twice
// discards what is discarded already. `done` remembers how far a request larger than a round has been served.
#include "virtio/balloon.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BALLOON_ID         5u
#define BALLOON_QUEUE_SIZE 128u
#define BALLOON_BUDGET     32u         // requests per round
#define BALLOON_ROUND_MAX  (16u << 20) // bytes per round: some milliseconds when all of them are in use
#define BALLOON_PFNS       256u        // page numbers read at a time: as many as Linux sends
#define PAGE_BYTES         VIRTIO_BALLOON_PAGE_BYTES

#define F_DEFLATE_ON_OOM (1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM)
#define F_PAGE_POISON    (1ull << VIRTIO_BALLOON_F_PAGE_POISON)
#define F_REPORTING      (1ull << VIRTIO_BALLOON_F_REPORTING)

enum { INFLATE = 0, DEFLATE = 1, N_QUEUES = 5 };

struct virtio_balloon {
    struct virtio_device dev; // first: ops get a pointer to it
    struct virtio_balloon_config space;
    unsigned queue;          // of this round
    uint64_t done[N_QUEUES]; // bytes of the request at each queue's head that were served
    uint64_t round_left;     // bytes of memory that this round may still look at
    uint64_t returned_bytes;
};

// Guest memory to discard together: system calls are what inflating costs.
struct run {
    uint8_t *first;
    size_t bytes;
};

// Only whole pages: what shares a page with the rest is in use. The memory was checked to be the guest's.
static void discard(struct virtio_balloon *balloon, const struct run *run)
{
    const size_t before = -(uintptr_t)run->first % PAGE_BYTES;
    const size_t bytes = run->bytes > before ? (run->bytes - before) / PAGE_BYTES * PAGE_BYTES : 0;
    // A part of a huge page splits it: the host has that memory back when it gets round to it.
    if (bytes > 0 && madvise(run->first + before, bytes, MADV_DONTNEED) == 0)
        balloon->returned_bytes += bytes;
}

// Adds a page to the run, or discards the run and begins another one. Linux allocates downwards as often as
// upwards.
static void add_page(struct virtio_balloon *balloon, struct run *run, uint8_t *page)
{
    if (run->bytes > 0 && page == run->first + run->bytes) {
        run->bytes += PAGE_BYTES;
    } else if (run->bytes > 0 && page + PAGE_BYTES == run->first) {
        run->first = page;
        run->bytes += PAGE_BYTES;
    } else {
        discard(balloon, run);
        *run = (struct run){.first = page, .bytes = PAGE_BYTES};
    }
}

// Pure: NULL, or what is wrong.
static const char *parse_pages(const struct ring_chain *chain)
{
    if (chain->n_writable > 0)
        return "a balloon request with writable buffers";
    return chain->readable_bytes % sizeof(uint32_t) != 0 ? "a balloon request of half a page number" : NULL;
}

// True when every page is guest memory; those before one that is not are gone then, as the guest asked.
static bool discard_pages(struct virtio_balloon *balloon, const uint32_t *pfns, size_t n)
{
    struct run run = {0};
    bool good = true;
    for (size_t i = 0; i < n && good; i++) {
        uint8_t *page =
            guest_memory_at(balloon->dev.machine.memory, (uint64_t)pfns[i] * PAGE_BYTES, PAGE_BYTES);
        good = page != NULL;
        if (good)
            add_page(balloon, &run, page);
    }
    discard(balloon, &run);
    return good;
}

static const char *inflate(struct virtio_balloon *balloon, const struct ring_chain *chain)
{
    const char *wrong = parse_pages(chain);
    while (!wrong && balloon->round_left > 0) {
        uint32_t untrusted_pfns[BALLOON_PFNS];
        size_t n = ring_chain_read(chain, balloon->done[INFLATE], untrusted_pfns, sizeof untrusted_pfns);
        if (n == 0)
            break;
        if (!discard_pages(balloon, untrusted_pfns, n / sizeof untrusted_pfns[0]))
            wrong = "a page for the balloon that is not the guest's memory";
        const uint64_t looked_at = n / sizeof untrusted_pfns[0] * PAGE_BYTES;
        balloon->round_left -= looked_at < balloon->round_left ? looked_at : balloon->round_left;
        balloon->done[INFLATE] += n;
    }
    return wrong;
}

static const char *deflate(struct virtio_balloon *balloon, const struct ring_chain *chain)
{
    balloon->done[DEFLATE] = chain->readable_bytes;
    return parse_pages(chain);
}

// Ranges come as buffers: what they hold does not matter, where they are does.
static const char *report(struct virtio_balloon *balloon, const struct ring_chain *chain)
{
    uint64_t *done = &balloon->done[balloon->queue];
    if (chain->n_readable > 0)
        return "a page report with readable buffers";
    if (!virtio_device_has_feature(&balloon->dev, F_REPORTING))
        return "a page report, which was not negotiated";
    const bool keep =
        virtio_device_has_feature(&balloon->dev, F_PAGE_POISON) && balloon->space.poison_val != 0;
    while (balloon->round_left > 0) {
        struct iovec part;
        uint64_t n;
        if (ring_chain_writable(chain, *done, balloon->round_left, &part, 1, &n) == 0)
            break;
        if (!keep)
            discard(balloon, &(struct run){.first = part.iov_base, .bytes = n});
        balloon->round_left -= n;
        *done += n;
    }
    return NULL;
}

static enum virtio_served serve(struct virtio_device *dev, const struct ring_chain *chain,
                                uint32_t *ret_written)
{
    typedef const char *serve_request(struct virtio_balloon * balloon, const struct ring_chain *chain);
    static serve_request *const by_queue[N_QUEUES] = {inflate, deflate, report, report, report};
    struct virtio_balloon *balloon = (struct virtio_balloon *)dev;
    const char *wrong = by_queue[balloon->queue](balloon, chain);
    if (wrong) {
        virtio_device_broken(dev, wrong);
        return VIRTIO_BLOCKED;
    }
    // The guest may have changed the chain since the last round; then it has lost its tail.
    if (balloon->done[balloon->queue] < chain->readable_bytes + chain->writable_bytes)
        return VIRTIO_PARTLY;
    balloon->done[balloon->queue] = 0;
    *ret_written = 0;
    return VIRTIO_SERVED;
}

static bool process(struct virtio_device *dev, unsigned queue)
{
    struct virtio_balloon *balloon = (struct virtio_balloon *)dev;
    balloon->queue = queue;
    balloon->round_left = BALLOON_ROUND_MAX;
    return virtio_device_serve(dev, queue, BALLOON_BUDGET, serve);
}

static void reset(struct virtio_device *dev)
{
    struct virtio_balloon *balloon = (struct virtio_balloon *)dev;
    memset(balloon->done, 0, sizeof balloon->done);
}

// At once: reset() can come after the next driver has written these. The target stays: it is the host's.
static void quiesce(struct virtio_device *dev)
{
    struct virtio_balloon *balloon = (struct virtio_balloon *)dev;
    balloon->space.actual = 0;
    balloon->space.poison_val = 0;
}

static bool is_the_drivers(size_t offset)
{
    return (offset >= offsetof(struct virtio_balloon_config, actual) &&
            offset < offsetof(struct virtio_balloon_config, actual) + sizeof(uint32_t)) ||
           (offset >= offsetof(struct virtio_balloon_config, poison_val) &&
            offset < offsetof(struct virtio_balloon_config, poison_val) + sizeof(uint32_t));
}

static void config_write(struct virtio_device *dev, size_t offset, const void *data, size_t len)
{
    struct virtio_balloon *balloon = (struct virtio_balloon *)dev;
    for (size_t i = 0; i < len; i++)
        if (is_the_drivers(offset + i))
            ((uint8_t *)&balloon->space)[offset + i] = ((const uint8_t *)data)[i];
}

static const struct virtio_device_ops ops = {
    .name = "balloon",
    .id = BALLOON_ID,
    .n_queues = N_QUEUES,
    .queue_size_max = BALLOON_QUEUE_SIZE,
    .features = VIRTIO_VERSION_1 | F_DEFLATE_ON_OOM | F_PAGE_POISON | F_REPORTING,
    .process = process,
    .quiesce = quiesce,
    .reset = reset,
    .config_write = config_write,
};

int virtio_balloon_new(struct virtio_balloon **ret, const struct virtio_machine *machine, struct err *err)
{
    struct virtio_balloon *balloon = calloc(1, sizeof *balloon);
    if (!balloon)
        return err_errno(err, -ENOMEM, "virtio-balloon");
    int rc = virtio_device_init(&balloon->dev, &ops, machine, &balloon->space, sizeof balloon->space, err);
    if (rc < 0) {
        virtio_balloon_free(balloon);
        return rc;
    }
    *ret = balloon;
    return 0;
}

void virtio_balloon_free(struct virtio_balloon *balloon)
{
    if (!balloon)
        return;
    virtio_device_done(&balloon->dev);
    free(balloon);
}

struct virtio_device *virtio_balloon_device(struct virtio_balloon *balloon)
{
    return &balloon->dev;
}

void virtio_balloon_set_target(struct virtio_balloon *balloon, uint32_t n_pages)
{
    virtio_device_enter(&balloon->dev);
    balloon->space.num_pages = n_pages;
    virtio_device_config_changed(&balloon->dev);
    virtio_device_leave(&balloon->dev);
}

struct virtio_balloon_counts virtio_balloon_counts(struct virtio_balloon *balloon)
{
    virtio_device_enter(&balloon->dev);
    const struct virtio_balloon_counts counts = {
        .inflated_bytes = (uint64_t)balloon->space.actual * PAGE_BYTES,
        .returned_bytes = balloon->returned_bytes,
    };
    virtio_device_leave(&balloon->dev);
    return counts;
}
