// virtio-vsock (virtio 1.2, section 5.10), entirely in user space. Called by the loop (sockets, doorbells
// through device.c) and by the machine; knows who to hand a new connection to, not what is spoken on it.
//
//   queue 0, receive:  device-writable buffers  | header (44 bytes) | payload |
//   queue 1, transmit: device-readable buffers  | header (44 bytes) | payload |
//   queue 2, event:    device-writable buffers  | id (4 bytes) |
//
// Features: VERSION_1 and STREAM. Only the guest connects, and only to one port of the host: every other
// packet is answered by a reset. Nothing is buffered without a bound: data for the guest stays in its socket
// until there is a buffer and credit; data from the guest is bounded by the credit given; resets for flows
// that do not exist wait in `resets`, and when that fills up the transmit queue is left alone until the guest
// takes some (section 5.10.6.1).
#include "virtio/vsock.h"

#include <errno.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <unistd.h>

#include "virtio/vsock_conn.h"

#define VSOCK_ID         19u
#define VSOCK_QUEUE_SIZE RING_SIZE_MAX // Linux takes two entries per packet
#define VSOCK_F_STREAM   (1ull << 0)   // newer than linux/virtio_vsock.h
#define VSOCK_BUDGET     64u           // packets per round and direction
#define VSOCK_ROOMY      16u           // slots whose connections get VSOCK_BUF_ALLOC
#define VSOCK_RESETS_MAX 128u
// Beyond this the transmit queue waits. Each of the connections that exist then can still add one.
#define VSOCK_RESETS_HIGH 32u

_Static_assert(VSOCK_ROOMY *VSOCK_BUF_ALLOC +
                       (VIRTIO_VSOCK_CONNECTIONS_MAX - VSOCK_ROOMY) * VSOCK_BUF_ALLOC_MANY <=
                   6u << 20,
               "what is held for all connections is bounded");
_Static_assert(VSOCK_RESETS_HIGH + VIRTIO_VSOCK_CONNECTIONS_MAX <= VSOCK_RESETS_MAX, "resets are never lost");

enum { RX = 0, TX = 1, EVENT = 2 };

struct slot {
    struct vsock_conn conn;
    struct loop_source *source;
    uint32_t armed; // events
    struct virtio_vsock *vsock;
};

struct virtio_vsock {
    struct virtio_device dev; // first: ops get a pointer to it
    struct virtio_vsock_options options;
    struct virtio_vsock_config space;
    struct slot slots[VIRTIO_VSOCK_CONNECTIONS_MAX];
    unsigned next;                                // slot whose turn it is to send
    struct vsock_packet resets[VSOCK_RESETS_MAX]; // a queue: first_reset, n_resets
    unsigned first_reset, n_resets;
    bool starved;    // output waits for receive buffers
    bool tx_blocked; // input waits for resets to leave
    bool event_owed; // a transport reset
};

static void close_slot(struct slot *slot)
{
    if (slot->source)
        loop_remove(slot->source);
    slot->source = NULL;
    vsock_conn_close(&slot->conn);
}

static void close_all(struct virtio_vsock *vsock)
{
    for (unsigned i = 0; i < VIRTIO_VSOCK_CONNECTIONS_MAX; i++)
        close_slot(&vsock->slots[i]);
    vsock->n_resets = 0;
    vsock->tx_blocked = false;
}

// Queues a reset of the flow that `from_guest` belongs to.
static void push_reset(struct virtio_vsock *vsock, const struct vsock_packet *from_guest)
{
    unsigned at = (vsock->first_reset + vsock->n_resets++) % VSOCK_RESETS_MAX;
    vsock->resets[at] = (struct vsock_packet){
        .src_cid = from_guest->dst_cid,
        .src_port = from_guest->dst_port,
        .dst_port = from_guest->src_port,
        .type = from_guest->type, // a type we don't know is answered in kind (section 5.10.6.4)
        .op = VIRTIO_VSOCK_OP_RST,
    };
}

static void reset_slot(struct slot *slot)
{
    struct vsock_packet flow = {
        .dst_cid = VSOCK_HOST_CID,
        .dst_port = slot->conn.host_port,
        .src_port = slot->conn.guest_port,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
    };
    push_reset(slot->vsock, &flow);
    close_slot(slot);
}

static struct slot *find_slot(struct virtio_vsock *vsock, const struct vsock_packet *packet)
{
    for (unsigned i = 0; i < VIRTIO_VSOCK_CONNECTIONS_MAX; i++) {
        const struct vsock_conn *conn = &vsock->slots[i].conn;
        if (vsock_conn_is_the_guests(conn) && conn->guest_port == packet->src_port &&
            conn->host_port == packet->dst_port)
            return &vsock->slots[i];
    }
    return NULL;
}

static struct slot *find_free_slot(struct virtio_vsock *vsock)
{
    for (unsigned i = 0; i < VIRTIO_VSOCK_CONNECTIONS_MAX; i++)
        if (vsock->slots[i].conn.state == VSOCK_FREE)
            return &vsock->slots[i];
    return NULL;
}

static void on_socket(void *arg, uint32_t events);

// 0, or -errno: refused, nothing is left of it.
static int accept_guest(struct virtio_vsock *vsock, const struct vsock_packet *request)
{
    struct slot *slot = find_free_slot(vsock);
    int peer;
    if (!slot || request->dst_port != vsock->options.port)
        return -ECONNREFUSED;
    const uint32_t buf_alloc = slot < &vsock->slots[VSOCK_ROOMY] ? VSOCK_BUF_ALLOC : VSOCK_BUF_ALLOC_MANY;
    int rc = vsock_conn_open(&slot->conn, request, buf_alloc, &peer);
    if (rc < 0)
        return rc;
    slot->armed = vsock_conn_wants(&slot->conn);
    slot->source = loop_add(vsock->dev.machine.loop, slot->conn.fd, slot->armed, on_socket, slot);
    if (slot->source) {
        rc = vsock->options.accept(vsock->options.arg, request->src_port, request->dst_port, peer);
    } else {
        rc = -errno;
        close(peer);
    }
    if (rc < 0)
        close_slot(slot);
    return rc;
}

// A packet for a flow: known or not.
static void dispatch(struct virtio_vsock *vsock, const struct vsock_packet *packet,
                     enum vsock_verdict verdict, const struct ring_chain *chain)
{
    struct vsock_conn none = {.state = VSOCK_FREE};
    struct slot *slot = find_slot(vsock, packet);
    switch (vsock_conn_packet(slot ? &slot->conn : &none, packet, verdict, chain, VSOCK_HEADER_BYTES)) {
    case VSOCK_KEEP:
        break;
    case VSOCK_ACCEPT:
        if (accept_guest(vsock, packet) < 0)
            push_reset(vsock, packet);
        break;
    case VSOCK_RESET:
        push_reset(vsock, packet);
        if (slot)
            close_slot(slot);
        break;
    case VSOCK_DROP:
        if (slot)
            close_slot(slot);
        break;
    }
}

static enum virtio_served serve_transmit(struct virtio_device *dev, const struct ring_chain *chain,
                                         uint32_t *ret_written)
{
    struct virtio_vsock *vsock = (struct virtio_vsock *)dev;
    vsock->tx_blocked = vsock->n_resets >= VSOCK_RESETS_HIGH;
    if (vsock->tx_blocked)
        return VIRTIO_BLOCKED;
    uint8_t untrusted_header[VSOCK_HEADER_BYTES];
    if (chain->n_writable > 0 ||
        ring_chain_read(chain, 0, untrusted_header, sizeof untrusted_header) < sizeof untrusted_header) {
        virtio_device_broken(dev, "a transmit request that is no vsock packet");
        return VIRTIO_BLOCKED;
    }
    struct vsock_packet packet;
    vsock_header_read(untrusted_header, &packet);
    enum vsock_verdict verdict =
        vsock_packet_check(&packet, chain->readable_bytes - VSOCK_HEADER_BYTES, vsock->options.guest_cid);
    if (verdict != VSOCK_REFUSE)
        dispatch(vsock, &packet, verdict, chain);
    else if (packet.op != VIRTIO_VSOCK_OP_RST)
        push_reset(vsock, &packet);
    *ret_written = 0;
    return VIRTIO_SERVED;
}

static bool has_output(const struct virtio_vsock *vsock)
{
    bool any = vsock->n_resets > 0;
    for (unsigned i = 0; i < VIRTIO_VSOCK_CONNECTIONS_MAX && !any; i++)
        any = vsock_conn_has_output(&vsock->slots[i].conn);
    return any;
}

// The connections' next packet, each in turn. False when none has one.
static bool output_of_conns(struct virtio_vsock *vsock, const struct ring_chain *chain,
                            struct vsock_packet *ret)
{
    for (unsigned i = 0; i < VIRTIO_VSOCK_CONNECTIONS_MAX; i++) {
        unsigned turn = (vsock->next + i) % VIRTIO_VSOCK_CONNECTIONS_MAX;
        struct slot *slot = &vsock->slots[turn];
        enum vsock_outcome outcome;
        if (!vsock_conn_has_output(&slot->conn) ||
            vsock_conn_output(&slot->conn, chain, VSOCK_HEADER_BYTES, ret, &outcome) == 0)
            continue;
        ret->src_cid = VSOCK_HOST_CID;
        if (outcome == VSOCK_RESET)
            reset_slot(slot);
        vsock->next = turn + 1;
        return true;
    }
    return false;
}

// Fills a receive request. Returns the number of bytes, 0 when there is nothing to send after all.
static uint32_t fill(struct virtio_vsock *vsock, const struct ring_chain *chain)
{
    struct vsock_packet packet;
    if (vsock->n_resets > 0) {
        packet = vsock->resets[vsock->first_reset];
        vsock->first_reset = (vsock->first_reset + 1) % VSOCK_RESETS_MAX;
        vsock->n_resets--;
    } else if (!output_of_conns(vsock, chain, &packet)) {
        return 0;
    }
    packet.dst_cid = vsock->options.guest_cid;
    uint8_t header[VSOCK_HEADER_BYTES];
    vsock_header_write(header, &packet);
    ring_chain_write(chain, 0, header, sizeof header);
    return VSOCK_HEADER_BYTES + packet.len;
}

// Sends what there is to the guest. True when the round's budget is spent.
static bool send_all(struct virtio_vsock *vsock)
{
    struct ring *ring = virtio_device_ring(&vsock->dev, RX);
    struct ring_chain chain;
    ring_kicks_off(ring); // buffers are looked for when there is something to send
    for (unsigned turn = 0; turn < VSOCK_BUDGET; turn++) {
        if (!has_output(vsock))
            return false;
        int rc = ring_pop(ring, &chain);
        if (rc == 0)
            vsock->starved = !ring_kicks_on(ring);
        if (rc < 0 || vsock->starved)
            return false;
        if (rc == 0)
            continue;
        if (chain.n_readable > 0 || chain.writable_bytes <= VSOCK_HEADER_BYTES) {
            virtio_device_broken(&vsock->dev, "a receive request that holds no vsock packet");
            return false;
        }
        uint32_t len = fill(vsock, &chain);
        if (len > 0)
            ring_publish(ring, chain.head, len);
        else
            ring_unpop(ring);
    }
    return true;
}

// After anything that may have made output or room for it.
static void run(struct virtio_vsock *vsock)
{
    if (!vsock->starved && virtio_device_live(&vsock->dev) && send_all(vsock))
        virtio_device_again(&vsock->dev, RX);
    if (vsock->tx_blocked && vsock->n_resets < VSOCK_RESETS_HIGH) {
        vsock->tx_blocked = false;
        virtio_device_again(&vsock->dev, TX);
    }
}

static void send_event(struct virtio_vsock *vsock)
{
    struct ring *ring = virtio_device_ring(&vsock->dev, EVENT);
    struct ring_chain chain;
    if (!vsock->event_owed || ring_pop(ring, &chain) != 1)
        return;
    struct virtio_vsock_event event = {.id = VIRTIO_VSOCK_EVENT_TRANSPORT_RESET};
    if (ring_chain_write(&chain, 0, &event, sizeof event) < sizeof event) {
        virtio_device_broken(&vsock->dev, "an event request that holds no event");
        return;
    }
    ring_publish(ring, chain.head, sizeof event);
    vsock->event_owed = false;
}

static bool process(struct virtio_device *dev, unsigned queue)
{
    struct virtio_vsock *vsock = (struct virtio_vsock *)dev;
    bool more = false;
    if (queue == EVENT)
        send_event(vsock);
    if (queue == RX)
        vsock->starved = false;
    if (queue == TX)
        more = virtio_device_serve(dev, TX, VSOCK_BUDGET, serve_transmit);
    run(vsock);
    return more;
}

static void reset(struct virtio_device *dev)
{
    struct virtio_vsock *vsock = (struct virtio_vsock *)dev;
    close_all(vsock);
    vsock->starved = vsock->event_owed = false;
}

// Connections end with the driver that had them: their peers see the end of the stream.
static void arm(struct virtio_device *dev)
{
    struct virtio_vsock *vsock = (struct virtio_vsock *)dev;
    if (!virtio_device_live(dev))
        close_all(vsock);
    for (unsigned i = 0; i < VIRTIO_VSOCK_CONNECTIONS_MAX; i++) {
        struct slot *slot = &vsock->slots[i];
        uint32_t events = vsock_conn_wants(&slot->conn);
        if (slot->source && events != slot->armed && loop_modify(slot->source, events) == 0)
            slot->armed = events;
    }
}

static void on_socket(void *arg, uint32_t events)
{
    struct slot *slot = arg;
    struct virtio_vsock *vsock = slot->vsock;
    virtio_device_enter(&vsock->dev);
    if (slot->conn.state != VSOCK_FREE && virtio_device_live(&vsock->dev)) { // a reset may have come first
        enum vsock_outcome outcome = vsock_conn_socket(&slot->conn, events);
        if (outcome == VSOCK_RESET)
            reset_slot(slot);
        else if (outcome == VSOCK_DROP)
            close_slot(slot);
        run(vsock);
    }
    virtio_device_leave(&vsock->dev);
}

static const struct virtio_device_ops ops = {
    .name = "vsock",
    .id = VSOCK_ID,
    .n_queues = 3,
    .queue_size_max = VSOCK_QUEUE_SIZE,
    .features = VIRTIO_VERSION_1 | VSOCK_F_STREAM,
    .process = process,
    .reset = reset,
    .arm = arm,
};

int virtio_vsock_new(struct virtio_vsock **ret, const struct virtio_machine *machine,
                     const struct virtio_vsock_options *options, struct err *err)
{
    struct virtio_vsock *vsock = calloc(1, sizeof *vsock);
    if (!vsock)
        return err_errno(err, -ENOMEM, "virtio-vsock");
    vsock->options = *options;
    vsock->space.guest_cid = options->guest_cid;
    for (unsigned i = 0; i < VIRTIO_VSOCK_CONNECTIONS_MAX; i++)
        vsock->slots[i].vsock = vsock;
    int rc = virtio_device_init(&vsock->dev, &ops, machine, &vsock->space, sizeof vsock->space, err);
    if (rc < 0) {
        virtio_vsock_free(vsock);
        return rc;
    }
    *ret = vsock;
    return 0;
}

void virtio_vsock_free(struct virtio_vsock *vsock)
{
    if (!vsock)
        return;
    close_all(vsock);
    virtio_device_done(&vsock->dev);
    free(vsock);
}

struct virtio_device *virtio_vsock_device(struct virtio_vsock *vsock)
{
    return &vsock->dev;
}

void virtio_vsock_transport_reset(struct virtio_vsock *vsock)
{
    virtio_device_enter(&vsock->dev);
    close_all(vsock);
    vsock->event_owed = true;
    if (virtio_device_live(&vsock->dev))
        send_event(vsock);
    virtio_device_leave(&vsock->dev);
}
