// Owns what each method of the broker means: two tables, one for each connection. Called by link.c. What
// cannot be is a failure of the connection, never an assertion: the broker is not trusted with our process.
#include <stdio.h>
#include <stdlib.h>

#include "broker/link.h"

#define FRAMES_PER_ROUND 1024

typedef int handler(struct link *l, amqp_channel_t channel, const void *decoded, struct failure *ret);

struct row {
    amqp_method_number_t method;
    handler *handle;
};

static int nonsense(const char *what, struct failure *ret)
{
    failure_set(ret, BROKER_UNREACHABLE, "the broker sent %s", what);
    return -1;
}

static int unexpected(const amqp_frame_t *frame, struct failure *ret)
{
    const char *name = amqp_method_name(frame->payload.method.id);
    failure_set(ret, BROKER_UNREACHABLE, "the broker sent what does not belong there: %s on channel %u",
                name ? name : "an unknown method", (unsigned)frame->channel);
    return -1;
}

static int on_connection_close(struct link *l, amqp_channel_t channel, const void *decoded,
                               struct failure *ret)
{
    (void)l, (void)channel;
    failure_of_close(ret, decoded);
    return -1;
}

// --- the publishing connection ---

static int on_publish_open(struct link *l, amqp_channel_t channel, const void *decoded, struct failure *ret)
{
    amqp_confirm_select_t m = {0};
    (void)decoded;
    if (channel != CHANNEL_PUBLISH || l->publish_open)
        return nonsense("channel.open-ok that nobody awaits", ret);
    l->publish_open = true;
    return conn_send(&l->publishing, channel, AMQP_CONFIRM_SELECT_METHOD, &m, ret);
}

static int on_confirming(struct link *l, amqp_channel_t channel, const void *decoded, struct failure *ret)
{
    (void)channel, (void)decoded, (void)ret;
    l->confirming = l->more = true;
    return 0;
}

static int on_ack(struct link *l, amqp_channel_t channel, const void *decoded, struct failure *ret)
{
    const amqp_basic_ack_t *a = decoded;
    (void)channel;
    return publisher_confirmed(&l->publisher, a->delivery_tag, a->multiple, true, l->now_ns)
               ? 0
               : nonsense("a confirm of what was not published", ret);
}

static int on_nack(struct link *l, amqp_channel_t channel, const void *decoded, struct failure *ret)
{
    const amqp_basic_nack_t *a = decoded;
    (void)channel;
    if (!publisher_confirmed(&l->publisher, a->delivery_tag, a->multiple, false, l->now_ns))
        return nonsense("a refusal of what was not published", ret);
    link_begin_renewal(l);
    return 0;
}

static int on_renewed(struct link *l, amqp_channel_t channel, const void *decoded, struct failure *ret)
{
    amqp_channel_open_t open = {0};
    (void)decoded;
    if (!l->renewing || l->confirming)
        return nonsense("channel.close-ok that nobody awaits", ret);
    l->renewing = l->publish_open = false;
    assembly_reset(&l->returned);
    publisher_connection_lost(&l->publisher); // what is unconfirmed is published again
    return conn_send(&l->publishing, channel, AMQP_CHANNEL_OPEN_METHOD, &open, ret);
}

static int on_blocked(struct link *l, amqp_channel_t channel, const void *decoded, struct failure *ret)
{
    const amqp_connection_blocked_t *b = decoded;
    char why[BROKER_WHY_CAP];
    (void)channel, (void)ret;
    if (!l->blocked)
        l->blocked_ns = l->now_ns;
    l->blocked = true;
    snprintf(why, sizeof why, "the broker takes no publications: %.*s", (int)b->reason.len,
             (const char *)b->reason.bytes);
    link_set_state(l, BROKER_BLOCKED, why);
    return 0;
}

static int on_unblocked(struct link *l, amqp_channel_t channel, const void *decoded, struct failure *ret)
{
    (void)channel, (void)decoded, (void)ret;
    if (l->blocked)
        l->stats.blocked_ms += (l->now_ns - l->blocked_ns) / 1000000u;
    l->blocked = false; // link_check_ready() says so
    l->more = true;
    return 0;
}

// The broker will not have a publication. Which one is found out by the publisher; the channel is needed
// again.
static int on_publish_closed(struct link *l, amqp_channel_t channel, const void *decoded, struct failure *ret)
{
    const amqp_channel_close_t *close = decoded;
    amqp_channel_close_ok_t ok = {0};
    amqp_channel_open_t open = {0};
    l->publish_open = l->confirming = false;
    assembly_reset(&l->returned);
    publisher_channel_closed(&l->publisher, close->reply_code, l->now_ns);
    if (conn_send(&l->publishing, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok, ret) < 0)
        return -1;
    return conn_send(&l->publishing, channel, AMQP_CHANNEL_OPEN_METHOD, &open, ret);
}

static const struct row publishing_rows[] = {
    {AMQP_BASIC_ACK_METHOD, on_ack},
    {AMQP_BASIC_NACK_METHOD, on_nack},
    {AMQP_CONNECTION_CLOSE_METHOD, on_connection_close},
    {AMQP_CONNECTION_BLOCKED_METHOD, on_blocked},
    {AMQP_CONNECTION_UNBLOCKED_METHOD, on_unblocked},
    {AMQP_CHANNEL_OPEN_OK_METHOD, on_publish_open},
    {AMQP_CONFIRM_SELECT_OK_METHOD, on_confirming},
    {AMQP_CHANNEL_CLOSE_METHOD, on_publish_closed},
    {AMQP_CHANNEL_CLOSE_OK_METHOD, on_renewed},
    {0, NULL},
};

// --- the consuming connection ---

static int on_consume_open(struct link *l, amqp_channel_t channel, const void *decoded, struct failure *ret)
{
    (void)decoded, (void)ret;
    l->open[channel] = l->more = true;
    return 0;
}

static int on_consume_closed(struct link *l, amqp_channel_t channel, const void *decoded, struct failure *ret)
{
    const amqp_channel_close_t *close = decoded;
    amqp_channel_close_ok_t ok = {0};
    amqp_channel_open_t open = {0};
    char why[BROKER_WHY_CAP];
    snprintf(why, sizeof why, "%.*s", (int)close->reply_text.len, (const char *)close->reply_text.bytes);
    l->open[channel] = false;
    link_channel_new(l, channel);
    if (channel == CHANNEL_GET && !getter_counts_end(&l->getter, false, why))
        getter_end(&l->getter, why);
    if (channel != CHANNEL_GET)
        topology_channel_closed(&l->topology, channel, l->now_ns, close->reply_code, why);
    if (conn_send(&l->consuming, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok, ret) < 0)
        return -1;
    return conn_send(&l->consuming, channel, AMQP_CHANNEL_OPEN_METHOD, &open, ret);
}

static int on_cancelled(struct link *l, amqp_channel_t channel, const void *decoded, struct failure *ret)
{
    const amqp_basic_cancel_t *cancel = decoded;
    (void)channel, (void)ret;
    topology_cancelled(&l->topology, cancel->consumer_tag);
    return 0;
}

static int on_get_empty(struct link *l, amqp_channel_t channel, const void *decoded, struct failure *ret)
{
    (void)channel, (void)decoded, (void)ret;
    l->getter.asked = false;
    getter_end(&l->getter, "");
    return 0;
}

// Of the channel for looking; on the others it answers the topology.
static int on_declared(struct link *l, amqp_channel_t channel, const void *decoded, struct failure *ret)
{
    const amqp_queue_declare_ok_t *ok = decoded;
    if (channel != CHANNEL_GET)
        return topology_answered(&l->topology, channel, AMQP_QUEUE_DECLARE_OK_METHOD, decoded)
                   ? 0
                   : nonsense("queue.declare-ok that nobody awaits", ret);
    getter_counted(&l->getter, ok->message_count);
    l->more = true;
    return 0;
}

static const struct row consuming_rows[] = {
    {AMQP_QUEUE_DECLARE_OK_METHOD, on_declared},
    {AMQP_BASIC_CANCEL_METHOD, on_cancelled},
    {AMQP_BASIC_GET_EMPTY_METHOD, on_get_empty},
    {AMQP_CONNECTION_CLOSE_METHOD, on_connection_close},
    {AMQP_CHANNEL_OPEN_OK_METHOD, on_consume_open},
    {AMQP_CHANNEL_CLOSE_METHOD, on_consume_closed},
    {0, NULL},
};

// --- messages ---

// A message for a consumer that is not wanted any more goes back, an oversized one to the dead letters.
static int take_delivery(struct link *l, struct arrival *m, struct failure *ret)
{
    struct deliveries *d = m->channel == CHANNEL_GET ? &l->got : &l->consumed;
    bool wanted = m->channel == CHANNEL_GET ? l->getter.current != NULL
                                            : topology_consumer(&l->topology, m->consumer) != NULL;
    m->handle = deliveries_add(d, m->tag, topology_serial(&l->topology, m->consumer));
    if (m->handle == 0) {
        free(m);
        failure_set(ret, BROKER_UNREACHABLE, "no memory for a delivery");
        return -1;
    }
    l->stats.deliveries++;
    if (!wanted || m->oversized) {
        deliveries_settle(d, m->handle,
                          wanted && m->channel != CHANNEL_GET ? BROKER_DEAD_LETTER : BROKER_REQUEUE);
        free(m);
    } else {
        STAILQ_INSERT_TAIL(&l->outgoing, &m->item, link);
    }
    if (d == &l->got)
        getter_got(&l->getter);
    return 0;
}

static int feed(struct link *l, struct assembly *a, const amqp_frame_t *frame, struct failure *ret)
{
    struct arrival *m;
    if (assembly_feed(a, frame, &m) < 0)
        return nonsense("the parts of a message in an order that cannot be", ret);
    if (!m)
        return 0;
    m->channel = (uint8_t)frame->channel;
    if (!m->is_return)
        return take_delivery(l, m, ret);
    window_return(&l->publisher.window, m->texts[0], m->routing_key);
    free(m);
    return 0;
}

// --- reading ---

static int look_up(struct link *l, const struct row *row, const amqp_frame_t *frame, bool *ret_found,
                   struct failure *ret)
{
    for (; row->handle; row++)
        if (row->method == frame->payload.method.id)
            return row->handle(l, frame->channel, frame->payload.method.decoded, ret);
    *ret_found = false;
    return 0;
}

static int on_publishing_frame(struct link *l, const amqp_frame_t *frame, struct failure *ret)
{
    bool found = true;
    if (assembly_wants(frame))
        return feed(l, &l->returned, frame, ret);
    if (frame->frame_type != AMQP_FRAME_METHOD)
        return 0; // heartbeats
    int rc = look_up(l, publishing_rows, frame, &found, ret);
    return found ? rc : unexpected(frame, ret);
}

static int on_consuming_frame(struct link *l, const amqp_frame_t *frame, struct failure *ret)
{
    bool found = true;
    if (frame->channel >= N_CHANNELS)
        return nonsense("a frame on a channel that is not open", ret);
    if (assembly_wants(frame))
        return frame->channel == 0 ? nonsense("a message on channel 0", ret)
                                   : feed(l, &l->assemblies[frame->channel], frame, ret);
    if (frame->frame_type != AMQP_FRAME_METHOD)
        return 0;
    int rc = look_up(l, consuming_rows, frame, &found, ret);
    if (found)
        return rc;
    return topology_answered(&l->topology, frame->channel, frame->payload.method.id,
                             frame->payload.method.decoded)
               ? 0
               : unexpected(frame, ret);
}

static int drain(struct link *l, struct conn *c,
                 int (*on_frame)(struct link *, const amqp_frame_t *, struct failure *), struct failure *ret)
{
    amqp_frame_t frame;
    int rc = 1;
    for (int n = 0; n < FRAMES_PER_ROUND && rc == 1; n++) {
        rc = conn_read(c, &frame, ret);
        if (rc == 1 && on_frame(l, &frame, ret) < 0)
            return -1;
        if (rc >= 0)
            conn_release(c); // everything that is kept was copied
    }
    l->more = l->more || rc == 1;
    return rc < 0 ? -1 : 0;
}

int link_read(struct link *l, struct failure *ret)
{
    if (drain(l, &l->publishing, on_publishing_frame, ret) < 0)
        return -1;
    return drain(l, &l->consuming, on_consuming_frame, ret);
}
