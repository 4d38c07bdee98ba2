// The link as the router sees it: made, told its state, counted, ended.
#include "remote/remote.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/log.h"
#include "remote/remote_internal.h"
#include "route/queues.h"
#include "route/seen.h"

#define TICK_US 250000

static void describe_link(void *arg, char *out, size_t cap)
{
    struct remote *r = arg;
    struct broker_stats s;
    if (!r->broker) {
        snprintf(out, cap, "the link to broker %s has ended", r->broker_host);
        return;
    }
    broker_get_stats(r->broker, &s);
    snprintf(out, cap, "broker %s is %s%s%s", r->broker_host, broker_state_name(s.state),
             s.why[0] ? ": " : "", s.why);
}

static const struct remote_ops ops = {
    .send = remote_send,
    .environment_added = remote_topology_environment_added,
    .environment_removed = remote_topology_environment_removed,
    .queue_left = remote_topology_queue_left,
    .environment_running = remote_topology_environment_running,
    .service_served = remote_topology_service_served,
    .mail_processed = intake_on_processed,
    .describe_link = describe_link,
    .environment_went = remote_presence_went,
    .environment_asked = remote_presence_ask,
};

static void on_state(void *arg, enum broker_state state, const char *why)
{
    struct remote *r = arg;
    log_info(NULL, "broker %s is %s%s%s", r->broker_host, broker_state_name(state), why[0] ? ": " : "", why);
    if (state != BROKER_READY && state != BROKER_BLOCKED)
        intake_forget_held(r);
}

static void on_queue_deleted(void *arg, const char *queue)
{
    const struct remote *r = arg;
    router_queue_deleted(r->router, queue);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    intake_tick(arg, io_realtime_ms());
    remote_presence_tick(arg, io_realtime_ms());
}

static int init(struct remote *r, const struct remote_config *config, struct err *err)
{
    static const struct broker_cb cb = {
        .on_state = on_state, .on_delivery = incoming_delivery, .on_queue_deleted = on_queue_deleted};
    const struct timeval every = {.tv_usec = TICK_US};
    snprintf(r->host, sizeof r->host, "%s", config->host);
    snprintf(r->user, sizeof r->user, AMQP_USER_HOST "%s", config->host);
    snprintf(r->inbox, sizeof r->inbox, "inbox.%s", config->host);
    snprintf(r->talk, sizeof r->talk, "host.%s", config->host);
    snprintf(r->broker_host, sizeof r->broker_host, "%s", config->broker->host);
    r->self = (struct amqp_self){r->user, r->host, config->epoch};
    r->key = siphash_key_random();
    r->tick = event_new(r->base, -1, EV_PERSIST, on_tick, r);
    if (table_init(&r->intakes_by_id, 64) < 0 || table_init(&r->intakes_by_queue, 64) < 0 ||
        table_init(&r->lanes, 64) < 0 || table_init(&r->bundles, 64) < 0 || !r->tick ||
        event_add(r->tick, &every) < 0)
        return err_set(err, -ENOMEM, "no memory for the link to the broker");
    int rc = broker_new(r->base, config->broker, &cb, r, &r->broker, err);
    if (rc < 0)
        return rc;
    return remote_topology_init(r) < 0 || remote_presence_init(r) < 0 || remote_trace_init(r) < 0
               ? err_set(err, -ENOMEM, "no memory for the link to the broker")
               : 0;
}

int remote_new(struct event_base *base, const struct remote_config *config, struct router *router,
               struct mediator *mediator, struct remote **ret, struct err *err)
{
    if (!name_valid(config->host, strlen(config->host)))
        return err_set(err, -EINVAL,
                       "the host's name \"%s\" is none: lower-case letters, digits and hyphens, at most 63",
                       config->host);
    struct remote *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(err, -ENOMEM, "no memory for the link to the broker");
    r->base = base;
    r->router = router;
    r->mediator = mediator;
    LIST_INIT(&r->intakes);
    LIST_INIT(&r->services_holding);
    LIST_INIT(&r->peers);
    LIST_INIT(&r->traces);
    int rc = init(r, config, err);
    if (rc < 0) {
        remote_stop(r);
        remote_free(r);
        return rc;
    }
    router_set_remote(router, &ops, r);
    *ret = r;
    return 0;
}

void remote_stop(struct remote *r)
{
    if (!r || !r->broker)
        return;
    remote_trace_done(r);
    r->stopping = true;
    broker_free(r->broker); // outcomes come from within
    r->broker = NULL;
    free(r->dead);
    r->dead = NULL;
    intake_forget_held(r);
}

void remote_free(struct remote *r)
{
    if (!r)
        return;
    while (!LIST_EMPTY(&r->intakes))          // NOLINT(clang-analyzer-unix.Malloc)
        intake_stop(LIST_FIRST(&r->intakes)); // NOLINT(clang-analyzer-unix.Malloc)
    remote_presence_done(r);
    table_done(&r->intakes_by_id);
    table_done(&r->intakes_by_queue);
    table_done(&r->lanes); // empty: every outcome is known
    incoming_bundles_done(r);
    seen_free(r->buried_parts);
    if (r->tick)
        event_free(r->tick);
    free(r);
}

void remote_get_stats(const struct remote *r, struct remote_stats *ret)
{
    const struct intake *in;
    *ret = r->stats;
    ret->gathering_bytes = r->waiting_bytes;
    if (r->broker)
        broker_get_stats(r->broker, &ret->broker);
    LIST_FOREACH(in, &r->intakes, link)
    {
        ret->consumers += in->id != 0;
        ret->held += in->n_held;
        ret->paused += in->paused;
    }
}
