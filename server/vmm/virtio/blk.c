// virtio-blk (virtio 1.2, section 5.2). Called by the loop (engine, timer, doorbells through device.c); knows
// a back end, not what file is behind it.
//
//   request:  device-readable  | type u32 | - | sector u64 | data to write, or a range |
//             device-writable  | data read | status u8 |
//
// Framing is the driver's own affair (section 2.7.4): the header and the status are found by their offset,
// not by their buffer. Features: VERSION_1; BLK_SIZE and TOPOLOGY (sectors of 512, better written by the back
// end's block); SEG_MAX (what the queue can hold beside header and status); and either RO, or FLUSH, DISCARD
// and WRITE_ZEROES (one range per request). No CONFIG_WCE: the cache is the host's page cache; a driver that
// does not negotiate FLUSH gets every write flushed before it is completed (section 5.2.5.2). No MQ.
//
// A request is popped, copied, parsed, and becomes a task of the engine, in any of SLOTS; it is published
// when the task has ended, in any order. The queue stays as it is while there is no free slot (`full`) or the
// rate limit waits for tokens (`limited`). A reset drops all tasks before the driver may use its memory
// again.
#include "virtio/blk.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "block/engine.h"
#include "common/io.h"
#include "virtio/blk_request.h"
#include "virtio/rate.h"

#define BLK_ID                 2u
#define BLK_QUEUE_SIZE         128u
#define BLK_BUDGET             64u // requests per round
#define BLK_BURST_REQUESTS_MIN 64u
#define BLK_BURST_BYTES_MIN    (1ull << 20)
#define BLK_RETRY_NS           1000000u
#define SLOTS                  ENGINE_TASKS_MAX
#define FEATURES                                                                                             \
    (VIRTIO_VERSION_1 | 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |                       \
     1ull << VIRTIO_BLK_F_TOPOLOGY)
#define FEATURES_RO (FEATURES | 1ull << VIRTIO_BLK_F_RO)
#define FEATURES_RW                                                                                          \
    (FEATURES | 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES)

_Static_assert(BLOCK_IOV_MAX + 2 == BLK_QUEUE_SIZE, "header and status may take a descriptor each");

// One request in flight.
struct slot {
    struct block_task task; // first: the engine gives it back
    enum blk_verb verb;
    uint16_t head;
    uint8_t *status;  // guest memory
    uint32_t written; // when it succeeds
};

struct virtio_blk {
    struct virtio_device dev; // first: ops get a pointer to it
    struct block_backend *backend;
    struct block_engine engine;
    struct virtio_blk_config space;
    uint8_t id[BLK_ID_BYTES];
    struct loop_source *completions;
    struct loop_source *timer;
    struct rate requests, bytes;
    bool limited;                         // waits for tokens
    bool full;                            // waits for a slot
    bool retry;                           // the kernel took no more I/O
    void (*failed)(void *arg, int error); // NULL: nobody is told
    void *arg;
    struct virtio_blk_counters counters;
    unsigned n_free;
    uint8_t free_slots[SLOTS]; // a stack, so that few slots are touched when few are needed
    struct slot slots[SLOTS];
};

// Sets and returns `limited`.
static bool is_limited(struct virtio_blk *blk)
{
    if (blk->requests.per_s == 0 && blk->bytes.per_s == 0)
        return false;
    uint64_t now_ns = io_monotonic_ns();
    bool ready = rate_ready(&blk->requests, now_ns);
    ready &= rate_ready(&blk->bytes, now_ns);
    blk->limited = !ready;
    return blk->limited;
}

static uint64_t next_ns(const struct virtio_blk *blk)
{
    uint64_t requests = rate_next_ns(&blk->requests);
    uint64_t bytes = rate_next_ns(&blk->bytes);
    return requests > bytes ? requests : bytes;
}

static void count(struct virtio_blk *blk, enum blk_verb verb, uint64_t bytes)
{
    struct virtio_blk_counters *c = &blk->counters;
    uint64_t *const requests[] = {[BLK_IN] = &c->reads,
                                  [BLK_OUT] = &c->writes,
                                  [BLK_FLUSH] = &c->flushes,
                                  [BLK_DISCARD] = &c->discards,
                                  [BLK_WRITE_ZEROES] = &c->zeroes};
    ++*requests[verb];
    if (verb == BLK_IN)
        c->read_bytes += bytes;
    if (verb == BLK_OUT)
        c->written_bytes += bytes;
}

// A used entry may only count bytes that were written from the front on (section 2.7.8.2): a failed read has
// none, though its status, the last byte, is there.
static void complete(struct virtio_blk *blk, struct slot *slot, int result)
{
    uint32_t written = slot->written;
    if (result < 0) {
        blk->counters.failed++;
        blk->counters.last_error = result;
        if (blk->failed)
            blk->failed(blk->arg, result);
        if (slot->verb == BLK_IN)
            written = 0;
    } else {
        count(blk, slot->verb, slot->task.bytes);
    }
    *slot->status = result < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
    ring_publish(virtio_device_ring(&blk->dev, 0), slot->head, written);
}

static void release(struct virtio_blk *blk, struct slot *slot)
{
    blk->free_slots[blk->n_free++] = (uint8_t)(slot - blk->slots);
}

// The engine's. The device may have broken meanwhile: its ring takes nothing then.
static void on_ended(void *arg, struct block_task *task, int result)
{
    struct virtio_blk *blk = arg;
    struct slot *slot = (struct slot *)task;
    if (result == 0 && task->kind == BLOCK_WRITE &&
        !virtio_device_has_feature(&blk->dev, 1ull << VIRTIO_BLK_F_FLUSH)) {
        task->kind = BLOCK_FLUSH; // write-through: the request ends with this
        engine_start(&blk->engine, task);
        return;
    }
    if (virtio_device_live(&blk->dev))
        complete(blk, slot, result);
    release(blk, slot);
}

static size_t buffers(const struct ring_chain *chain, const struct blk_request *request, struct iovec *out)
{
    uint64_t bytes;
    if (request->verb == BLK_OUT)
        return ring_chain_readable(chain, BLK_HEADER_BYTES, request->bytes, out, BLOCK_IOV_MAX, &bytes);
    if (request->verb == BLK_IN)
        return ring_chain_writable(chain, 0, request->bytes, out, BLOCK_IOV_MAX, &bytes);
    return 0;
}

// More buffers than SEG_MAX are possible where header and status share buffers with data.
static bool too_many(const struct block_task *task)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < task->n_iov; i++)
        bytes += task->iov[i].iov_len;
    return bytes != task->bytes;
}

static enum virtio_served refuse(struct virtio_blk *blk, const struct ring_chain *chain, uint8_t status,
                                 uint32_t *ret_written)
{
    blk->counters.refused++;
    rate_take(&blk->requests, 1); // a flood of refused requests is a flood
    ring_chain_write(chain, chain->writable_bytes - BLK_STATUS_BYTES, &status, BLK_STATUS_BYTES);
    *ret_written = chain->writable_bytes == BLK_STATUS_BYTES ? BLK_STATUS_BYTES : 0;
    return VIRTIO_SERVED;
}

static enum virtio_served give_id(struct virtio_blk *blk, const struct ring_chain *chain,
                                  uint32_t *ret_written)
{
    uint8_t reply[BLK_ID_BYTES + BLK_STATUS_BYTES];
    memcpy(reply, blk->id, BLK_ID_BYTES);
    reply[BLK_ID_BYTES] = VIRTIO_BLK_S_OK;
    rate_take(&blk->requests, 1);
    *ret_written = (uint32_t)ring_chain_write(chain, 0, reply, sizeof reply);
    return VIRTIO_SERVED;
}

static enum virtio_served start(struct virtio_blk *blk, const struct ring_chain *chain,
                                const struct blk_request *request, uint32_t *ret_written)
{
    static const enum block_kind kinds[] = {[BLK_IN] = BLOCK_READ,
                                            [BLK_OUT] = BLOCK_WRITE,
                                            [BLK_FLUSH] = BLOCK_FLUSH,
                                            [BLK_DISCARD] = BLOCK_DISCARD,
                                            [BLK_WRITE_ZEROES] = BLOCK_ZERO};
    struct slot *slot = &blk->slots[blk->free_slots[blk->n_free - 1]];
    struct block_task *task = &slot->task;
    bool transfer = request->verb == BLK_IN || request->verb == BLK_OUT;
    struct iovec status;
    uint64_t one;
    task->kind = kinds[request->verb];
    task->unmap = request->unmap;
    task->offset = request->offset;
    task->bytes = request->bytes;
    task->n_iov = buffers(chain, request, task->iov);
    if (transfer && too_many(task))
        return refuse(blk, chain, VIRTIO_BLK_S_IOERR, ret_written);
    ring_chain_writable(chain, chain->writable_bytes - BLK_STATUS_BYTES, BLK_STATUS_BYTES, &status, 1, &one);
    slot->verb = request->verb;
    slot->head = chain->head;
    slot->status = status.iov_base;
    slot->written = (uint32_t)chain->writable_bytes; // data and status
    blk->n_free--;
    rate_take(&blk->requests, 1);
    rate_take(&blk->bytes, transfer ? request->bytes : 0);
    engine_start(&blk->engine, task);
    return VIRTIO_TAKEN;
}

static enum virtio_served serve(struct virtio_device *dev, const struct ring_chain *chain,
                                uint32_t *ret_written)
{
    struct virtio_blk *blk = (struct virtio_blk *)dev;
    blk->full = blk->n_free == 0;
    if (blk->full || is_limited(blk))
        return VIRTIO_BLOCKED;
    struct blk_limits limits = {.disk_bytes = blk->backend->bytes,
                                .features = dev->driver_features,
                                .read_only = blk->backend->read_only};
    uint8_t untrusted_prefix[BLK_PREFIX_BYTES] = {0}, status = VIRTIO_BLK_S_IOERR;
    ring_chain_read(chain, 0, untrusted_prefix, sizeof untrusted_prefix);
    struct blk_request request = {0};
    const char *why = NULL;
    switch (blk_parse(untrusted_prefix, chain->readable_bytes, chain->writable_bytes, &limits, &request,
                      &status, &why)) {
    case BLK_BREAK:
        virtio_device_broken(dev, why);
        return VIRTIO_BLOCKED;
    case BLK_REFUSE:
        return refuse(blk, chain, status, ret_written);
    case BLK_PERFORM:
        break;
    }
    return request.verb == BLK_GET_ID ? give_id(blk, chain, ret_written)
                                      : start(blk, chain, &request, ret_written);
}

static bool process(struct virtio_device *dev, unsigned queue)
{
    struct virtio_blk *blk = (struct virtio_blk *)dev;
    bool more = virtio_device_serve(dev, queue, BLK_BUDGET, serve);
    blk->retry = engine_pump(&blk->engine);
    // Slots that the pump freed again: nobody else would look at the queue.
    return more || (blk->full && blk->n_free > 0);
}

// Any thread, when a reset begins: what it dropped, the driver no longer waits for.
static void quiesce(struct virtio_device *dev)
{
    struct virtio_blk *blk = (struct virtio_blk *)dev;
    engine_drop_all(&blk->engine);
    blk->n_free = 0;
    for (unsigned i = SLOTS; i-- > 0;)
        release(blk, &blk->slots[i]);
}

static void reset(struct virtio_device *dev)
{
    struct virtio_blk *blk = (struct virtio_blk *)dev;
    blk->limited = blk->full = blk->retry = false;
}

static void arm(struct virtio_device *dev)
{
    struct virtio_blk *blk = (struct virtio_blk *)dev;
    uint64_t wake_ns = 0;
    if (blk->limited && virtio_device_live(dev))
        wake_ns = next_ns(blk);
    if (blk->retry)
        wake_ns = io_monotonic_ns() + BLK_RETRY_NS;
    loop_timer_set(blk->timer, wake_ns);
}

// A device that is not live still has to reap what it started before it broke.
static void look(struct virtio_blk *blk)
{
    virtio_device_enter(&blk->dev);
    blk->retry = engine_pump(&blk->engine);
    if (virtio_device_live(&blk->dev) && (blk->full || blk->limited) && process(&blk->dev, 0))
        virtio_device_again(&blk->dev, 0);
    virtio_device_leave(&blk->dev);
}

static void on_completions(void *arg, uint32_t events)
{
    (void)events;
    look(arg);
}

static void on_timer(void *arg, uint32_t events)
{
    (void)events;
    look(arg);
}

#define OPS(offered)                                                                                         \
    {                                                                                                        \
        .name = "blk", .id = BLK_ID, .n_queues = 1, .queue_size_max = BLK_QUEUE_SIZE, .features = (offered), \
        .process = process, .quiesce = quiesce, .reset = reset, .arm = arm                                   \
    }

static const struct virtio_device_ops ops_rw = OPS(FEATURES_RW), ops_ro = OPS(FEATURES_RO);

static void fill_space(struct virtio_blk *blk)
{
    uint32_t per_block = blk->backend->block_bytes / BLK_SECTOR_BYTES;
    blk->space = (struct virtio_blk_config){
        .capacity = blk->backend->bytes / BLK_SECTOR_BYTES,
        .seg_max = BLOCK_IOV_MAX,
        .blk_size = BLK_SECTOR_BYTES,
        .physical_block_exp = (uint8_t)__builtin_ctz(per_block),
        .min_io_size = (uint16_t)per_block,
        .opt_io_size = per_block,
        .num_queues = 1,
        .max_discard_sectors = BLK_SEGMENT_SECTORS_MAX,
        .max_discard_seg = BLK_SEGMENTS_MAX,
        .discard_sector_alignment = per_block,
        .max_write_zeroes_sectors = BLK_SEGMENT_SECTORS_MAX,
        .max_write_zeroes_seg = BLK_SEGMENTS_MAX,
        .write_zeroes_may_unmap = 1,
    };
}

// 0 or -errno: the engine, its events, the device.
static int open_parts(struct virtio_blk *blk, const struct virtio_machine *machine, struct err *err)
{
    int rc = virtio_device_init(&blk->dev, blk->backend->read_only ? &ops_ro : &ops_rw, machine, &blk->space,
                                offsetof(struct virtio_blk_config, unused1) + sizeof blk->space.unused1, err);
    if (rc < 0)
        return rc;
    rc = engine_init(&blk->engine, blk->backend, on_ended, blk, err);
    if (rc < 0)
        return err_wrap(err, rc, "virtio-blk");
    blk->completions = loop_add(machine->loop, blk->engine.event_fd, EPOLLIN, on_completions, blk);
    blk->timer = loop_add_timer(machine->loop, on_timer, blk);
    if (!blk->completions || !blk->timer)
        return err_errno(err, -errno, "virtio-blk: watch completions");
    return 0;
}

int virtio_blk_new(struct virtio_blk **ret, const struct virtio_machine *machine,
                   const struct virtio_blk_options *options, struct err *err)
{
    struct virtio_blk *blk = calloc(1, sizeof *blk);
    if (!blk)
        return err_errno(err, -ENOMEM, "virtio-blk");
    blk->engine.event_fd = -1;
    blk->backend = options->backend;
    blk->failed = options->failed;
    blk->arg = options->arg;
    memcpy(blk->id, options->id, strnlen(options->id, sizeof blk->id));
    rate_init(&blk->requests, options->rate.requests_per_s, BLK_BURST_REQUESTS_MIN, io_monotonic_ns());
    rate_init(&blk->bytes, options->rate.bytes_per_s, BLK_BURST_BYTES_MIN, io_monotonic_ns());
    fill_space(blk);
    for (unsigned i = SLOTS; i-- > 0;)
        release(blk, &blk->slots[i]);
    int rc = open_parts(blk, machine, err);
    if (rc < 0) {
        virtio_blk_free(blk);
        return rc;
    }
    *ret = blk;
    return 0;
}

void virtio_blk_free(struct virtio_blk *blk)
{
    if (!blk)
        return;
    if (blk->completions)
        loop_remove(blk->completions);
    if (blk->timer)
        loop_remove(blk->timer);
    engine_done(&blk->engine);
    virtio_device_done(&blk->dev);
    free(blk);
}

struct virtio_device *virtio_blk_device(struct virtio_blk *blk)
{
    return &blk->dev;
}

struct virtio_blk_counters virtio_blk_counters(struct virtio_blk *blk)
{
    pthread_mutex_lock(&blk->dev.lock);
    struct virtio_blk_counters counters = blk->counters;
    pthread_mutex_unlock(&blk->dev.lock);
    return counters;
}
