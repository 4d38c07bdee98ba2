// Owns the numbers of a load. Called by the stories that break brokers.
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"

#define IN_FLIGHT 3000

void load_start(struct load *l, const struct broker_config *sender, const struct broker_config *receiver,
                const char *queue, size_t total)
{
    *l = (struct load){.queue = queue, .total = total, .in_flight_max = IN_FLIGHT};
    peer_start(&l->receiver, receiver);
    run_until_state(&l->receiver, BROKER_READY, 60);
    peer_want_plain_queue(&l->receiver, queue);
    l->receiver.ack = true;
    broker_want_consumer(l->receiver.broker, queue, 500, 1);
    peer_start(&l->sender, sender);
    run_until_state(&l->sender, BROKER_READY, 60);
}

static void top_up(struct load *l)
{
    char id[32];
    while (l->sent < l->total && l->sent - l->sender.n_done < l->in_flight_max) {
        snprintf(id, sizeof id, "%zu", l->sent);
        struct broker_publication pub = publication("", l->queue, id, id);
        pub.patience_ms = 300000;
        assert_int_equal(peer_try_publish(&l->sender, &pub), 0);
        l->sent++;
    }
}

void load_run(struct load *l, unsigned ms)
{
    uint64_t deadline = io_monotonic_ns() + ms * 1000000ull;
    while (l->sent < l->total && io_monotonic_ns() < deadline) {
        top_up(l);
        run_for(1);
    }
}

// Duplicates are allowed, gaps and a changed order are not.
static size_t count_in_order(const struct peer *receiver, size_t total)
{
    char *seen = calloc(total, 1);
    size_t next = 0;
    for (size_t i = 0; i < receiver->n_received && i < RECORDED_MAX; i++) {
        size_t n = strtoul(receiver->received[i].body, NULL, 10);
        assert_in_range(n, 0, total - 1);
        if (!seen[n] && n != next)
            fail_msg("%zu came for the first time where %zu was to come", n, next);
        next += !seen[n];
        seen[n] = 1;
    }
    free(seen);
    return next;
}

static bool all_there(void *arg)
{
    struct load *l = arg;
    return l->receiver.n_received >= l->total && l->receiver.n_received < RECORDED_MAX &&
           count_in_order(&l->receiver, l->total) == l->total;
}

void load_finish(struct load *l, unsigned seconds)
{
    uint64_t deadline = io_monotonic_ns() + seconds * 1000000000ull;
    while (l->sender.n_done < l->total && io_monotonic_ns() < deadline) {
        top_up(l);
        run_for(10);
    }
    struct broker_stats s = peer_stats(&l->sender);
    print_message("sent %zu, confirmed %zu, published again %llu, arrived %zu, reconnects %llu\n", l->sent,
                  l->sender.n_by_outcome[BROKER_CONFIRMED], (unsigned long long)s.republished,
                  l->receiver.n_received, (unsigned long long)s.reconnects);
    assert_int_equal(l->sender.n_by_outcome[BROKER_CONFIRMED], l->total);
    run_until_true(all_there, l, seconds, "every message");
}

void load_stop(struct load *l)
{
    broker_unwant_queue(l->receiver.broker, l->queue, true);
    run_for(300);
    peer_stop(&l->sender);
    peer_stop(&l->receiver);
}
