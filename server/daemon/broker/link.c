// Owns the thread's round: wait, take what the loop wants, read, send, give back. Called by broker.c. Nothing
// in a round waits but its poll, and opening connections within their time-outs.
#include "broker/link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "common/io.h"

#define NS_PER_MS 1000000u

int link_init(struct link *l)
{
    STAILQ_INIT(&l->outgoing);
    l->publishing.fd = l->consuming.fd = -1;
    l->getter.out = &l->outgoing;
    STAILQ_INIT(&l->getter.counts);
    l->backoff_ms = l->settings.backoff_min_ms;
    l->stats.tls = l->settings.tls;
    l->stats.since_ms = io_realtime_ms();
    l->shared = l->stats;
    if (publisher_init(&l->publisher, l->settings.publish_window, &l->topology, &l->outgoing, &l->stats) <
            0 ||
        topology_init(&l->topology, &l->settings, &l->consumed, &l->outgoing, &l->stats) < 0 ||
        deliveries_init(&l->consumed, CHANNEL_CONSUME, &l->stats) < 0 ||
        deliveries_init(&l->got, CHANNEL_GET, &l->stats) < 0)
        return -ENOMEM;
    return 0;
}

void link_done(struct link *l)
{
    assembly_reset(&l->returned);
    for (int i = 0; i < N_CHANNELS; i++)
        assembly_reset(&l->assemblies[i]);
    deliveries_done(&l->got);
    deliveries_done(&l->consumed);
    if (l->topology.settings)
        topology_done(&l->topology);
    publisher_done(&l->publisher);
}

// --- what the loop wants ---

static void on_publication(struct link *l, struct item *item)
{
    publisher_add(&l->publisher, (struct publication *)item);
}

static void on_settlement(struct link *l, struct item *item)
{
    const struct settlement *s = (struct settlement *)item;
    if (!deliveries_settle(&l->consumed, s->handle, s->how))
        deliveries_settle(&l->got, s->handle, s->how);
    free(item);
}

static void on_wish(struct link *l, struct item *item)
{
    if (topology_apply(&l->topology, (struct wish *)item) < 0)
        link_set_state(l, l->stats.state, "no memory for what is wanted at the broker");
    free(item);
}

static void on_get(struct link *l, struct item *item)
{
    getter_start(&l->getter, (struct get *)item);
    if (!link_up(l))
        getter_end(&l->getter, "the broker is not connected");
}

static void on_count(struct link *l, struct item *item)
{
    getter_count(&l->getter, (struct count *)item);
    if (!link_up(l))
        getter_counts_end(&l->getter, true, "the broker is not connected");
}

static bool take_wishes(struct link *l)
{
    static void (*const by_kind[])(struct link *, struct item *) = {
        [ITEM_PUBLICATION] = on_publication,
        [ITEM_SETTLEMENT] = on_settlement,
        [ITEM_WISH] = on_wish,
        [ITEM_GET] = on_get,
        [ITEM_COUNT] = on_count,
    };
    struct item_queue items = STAILQ_HEAD_INITIALIZER(items);
    struct item *item;
    bool open = lane_take(&l->in, &items);
    while ((item = STAILQ_FIRST(&items))) {
        STAILQ_REMOVE_HEAD(&items, link);
        by_kind[item->kind](l, item);
    }
    return open;
}

// --- a round ---

// Below half a heartbeat: reading is what sends ours, and what notices that the broker's are missing.
static uint64_t wake_at(const struct link *l)
{
    if (!link_up(l))
        return l->retry_ns;
    uint64_t at = l->now_ns + l->settings.heartbeat_s * 1000ull * NS_PER_MS / 3;
    uint64_t drained = l->renewed_ns + LINK_DRAIN_NS;
    return l->renewing && l->confirming && drained < at ? drained : at;
}

static void wait_for_work(struct link *l, uint64_t until_ns)
{
    struct pollfd fds[3] = {{.fd = l->in.event_fd, .events = POLLIN},
                            {.fd = l->publishing.fd, .events = POLLIN},
                            {.fd = l->consuming.fd, .events = POLLIN}};
    if (l->publishing.want_write)
        fds[1].events |= POLLOUT;
    if (l->consuming.want_write)
        fds[2].events |= POLLOUT;
    uint64_t now_ns = io_monotonic_ns();
    uint64_t ns = l->more || until_ns <= now_ns ? 0 : until_ns - now_ns;
    uint64_t ms = (ns + NS_PER_MS - 1) / NS_PER_MS;
    (void)poll(fds, 3, ms > 60000 ? 60000 : (int)ms);
    l->now_ns = io_monotonic_ns();
    l->more = false;
}

static int send_all(struct link *l, struct failure *ret)
{
    bool may_publish = l->confirming && !l->renewing && !l->blocked && l->stats.state == BROKER_READY;
    l->publishing.want_write = l->consuming.want_write = false;
    if (l->topology.news)
        publisher_release(&l->publisher);
    l->topology.news = false;
    if (may_publish && publisher_pump(&l->publisher, &l->publishing, &l->more, ret) < 0)
        return -1;
    if (link_renew(l, ret) < 0)
        return -1;
    if (l->open[CHANNEL_CONSUME] && deliveries_flush(&l->consumed, &l->consuming, ret) < 0)
        return -1;
    if (l->open[CHANNEL_GET] && (deliveries_flush(&l->got, &l->consuming, ret) < 0 ||
                                 getter_pump(&l->getter, &l->consuming, ret) < 0))
        return -1;
    return topology_pump(&l->topology, &l->consuming, l->open, ret);
}

static void work(struct link *l)
{
    struct failure f;
    if (!link_up(l) && l->now_ns >= l->retry_ns)
        link_connect(l);
    if (!link_up(l))
        return;
    if (link_read(l, &f) < 0 || send_all(l, &f) < 0) {
        link_lost(l, &f);
        return;
    }
    link_check_ready(l);
    l->more = l->more || (link_up(l) && (conn_has_input(&l->publishing) || conn_has_input(&l->consuming)));
}

static void give_back(struct link *l)
{
    l->stats.unconfirmed = l->publisher.window.n;
    pthread_mutex_lock(&l->lock);
    bool changed = l->shared_serial != l->serial;
    l->shared = l->stats;
    l->shared_blocked_ns = l->blocked ? l->blocked_ns : 0;
    l->shared_serial = l->serial;
    pthread_mutex_unlock(&l->lock);
    if (changed)
        lane_wake(&l->out);
    lane_put_all(&l->out, &l->outgoing);
}

void *link_main(void *arg)
{
    struct link *l = arg;
    bool open;
    l->more = true;
    do {
        uint64_t until_ns = wake_at(l);
        publisher_check_patience(&l->publisher, l->now_ns, &until_ns);
        if (link_up(l))
            topology_retry(&l->topology, l->now_ns, &until_ns);
        give_back(l);
        wait_for_work(l, until_ns);
        open = take_wishes(l);
        work(l);
    } while (open);
    link_close(l);
    give_back(l);
    return NULL;
}
