// Owns the link's states: connecting with backoff, what must be there before it is ready, and what happens to
// everything when it is lost. Called by link.c.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/link.h"
#include "common/io.h"

#define NS_PER_MS    1000000u
#define GOODBYE_MS   300u
#define RENEW_MIN_NS 2000000000u // between two renewals
#define RENEW_MAX_NS 64000000000u
#define CLOSE_BYTES  64

void link_set_state(struct link *l, enum broker_state state, const char *why)
{
    if (state == l->stats.state && strcmp(why, l->stats.why) == 0)
        return;
    if (state != l->stats.state)
        l->stats.since_ms = io_realtime_ms();
    l->stats.state = state;
    snprintf(l->stats.why, sizeof l->stats.why, "%s", why);
    l->serial++;
}

void link_channel_new(struct link *l, amqp_channel_t channel)
{
    assembly_reset(&l->assemblies[channel]);
    if (channel == CHANNEL_CONSUME)
        deliveries_reset(&l->consumed, ++l->generation);
    if (channel == CHANNEL_GET)
        deliveries_reset(&l->got, ++l->generation);
}

// --- up ---

static int open_channels(struct link *l, struct failure *ret)
{
    amqp_channel_open_t m = {0};
    if (conn_send(&l->publishing, CHANNEL_PUBLISH, AMQP_CHANNEL_OPEN_METHOD, &m, ret) < 0)
        return -1;
    for (amqp_channel_t i = 1; i < N_CHANNELS; i++) {
        link_channel_new(l, i);
        if (conn_send(&l->consuming, i, AMQP_CHANNEL_OPEN_METHOD, &m, ret) < 0)
            return -1;
    }
    return 0;
}

void link_connect(struct link *l)
{
    struct failure f;
    if (conn_open(&l->publishing, &l->settings, "publish", &f) < 0 ||
        conn_open(&l->consuming, &l->settings, "consume", &f) < 0 || open_channels(l, &f) < 0) {
        link_lost(l, &f);
        return;
    }
    l->now_ns = io_monotonic_ns();
    l->setup_ns = l->now_ns + l->settings.rpc_timeout_ms * (uint64_t)NS_PER_MS;
    snprintf(l->stats.product, sizeof l->stats.product, "%s", l->publishing.product);
    if (l->stats.connects++ > 0)
        l->stats.reconnects++;
    l->more = true;
}

static bool channels_open(const struct link *l)
{
    bool open = l->confirming;
    for (amqp_channel_t i = 1; i < N_CHANNELS; i++)
        open = open && l->open[i];
    return open;
}

// Ready does not mean that everything is declared: with thousands of queues that takes long. Only what is for
// this link's own queues waits for them (holds.c).
void link_check_ready(struct link *l)
{
    bool was_up = l->stats.state == BROKER_READY || l->stats.state == BROKER_BLOCKED;
    struct failure f;
    if (!was_up && !channels_open(l) && l->now_ns >= l->setup_ns) {
        failure_set(&f, BROKER_SILENT, "the broker opens no channel");
        link_lost(l, &f);
        return;
    }
    if (!was_up && (!channels_open(l) || !topology_publishable(&l->topology)))
        return;
    if (!l->blocked)
        link_set_state(l, BROKER_READY, topology_why(&l->topology));
    l->backoff_ms = l->settings.backoff_min_ms;
    l->more = l->more || !was_up; // publications wait
}

// --- a new channel to publish on ---

// A quorum queue that is not full refuses too: a channel that first published to it while the record of its
// leader named a node that had just died asks that node for as long as it is away (RabbitMQ 3.10,
// rabbit_fifo_client:enqueue()). A new channel looks again. Publishing rests meanwhile, so that nothing is
// sent twice; a queue that is really full costs the others that rest ever more rarely.
void link_begin_renewal(struct link *l)
{
    uint64_t since_ns = l->now_ns - l->renewed_ns;
    if (l->settings.queue_type != BROKER_QUEUE_QUORUM || l->renewing || !l->confirming ||
        l->publisher.sending || since_ns < l->renew_wait_ns)
        return;
    bool again = l->renew_wait_ns > 0 && since_ns < 2 * l->renew_wait_ns;
    l->renew_wait_ns = again ? l->renew_wait_ns * 2 : RENEW_MIN_NS;
    if (l->renew_wait_ns > RENEW_MAX_NS)
        l->renew_wait_ns = RENEW_MAX_NS;
    l->renewed_ns = l->now_ns;
    l->renewing = true;
}

int link_renew(struct link *l, struct failure *ret)
{
    amqp_channel_close_t m = {.reply_code = AMQP_REPLY_SUCCESS};
    bool drained = l->publisher.window.n == 0 || l->now_ns - l->renewed_ns >= LINK_DRAIN_NS;
    if (!l->renewing || !l->confirming || !drained || !conn_may_send(&l->publishing, CLOSE_BYTES))
        return 0;
    l->confirming = false;
    l->stats.renewed++;
    return conn_send(&l->publishing, CHANNEL_PUBLISH, AMQP_CHANNEL_CLOSE_METHOD, &m, ret);
}

// --- down ---

static void end_block(struct link *l)
{
    if (l->blocked)
        l->stats.blocked_ms += (l->now_ns - l->blocked_ns) / NS_PER_MS;
    l->blocked = false;
}

static void forget(struct link *l, const char *why)
{
    end_block(l);
    l->publish_open = l->confirming = l->renewing = false;
    memset(l->open, 0, sizeof l->open);
    assembly_reset(&l->returned);
    for (amqp_channel_t i = 0; i < N_CHANNELS; i++)
        link_channel_new(l, i);
    publisher_connection_lost(&l->publisher);
    topology_reset(&l->topology);
    getter_end(&l->getter, why);
    getter_counts_end(&l->getter, true, why);
}

// Half of the backoff is chance, so that hosts do not come back all at once.
static uint64_t next_try(struct link *l)
{
    struct settings *s = &l->settings;
    uint64_t ms = l->backoff_ms / 2 + (uint64_t)random() % (l->backoff_ms / 2 + 1);
    s->current = (s->current + 1) % s->n_addresses;
    if (s->current != 0) // not all of them have been tried
        return io_monotonic_ns() + ms * NS_PER_MS;
    l->backoff_ms =
        l->backoff_ms > l->settings.backoff_max_ms / 2 ? l->settings.backoff_max_ms : l->backoff_ms * 2;
    return io_monotonic_ns() + ms * NS_PER_MS;
}

void link_lost(struct link *l, const struct failure *f)
{
    conn_close(&l->publishing, false, 0);
    conn_close(&l->consuming, false, 0);
    forget(l, f->why);
    link_set_state(l, f->state, f->why);
    l->retry_ns = next_try(l);
}

void link_close(struct link *l)
{
    conn_close(&l->publishing, true, GOODBYE_MS);
    conn_close(&l->consuming, true, GOODBYE_MS);
    forget(l, "the link ends");
    publisher_give_up(&l->publisher);
}
