// What this host wants of the broker: queues, bindings and consumers, as environments and services come, run,
// stop and go. Wanting is cheap and remembered by the link; nothing here waits for the broker.
//
//   env (direct)        tenant.name       -> mailbox.tenant.name, or inbox.HOST for environments without a
//   queue
//                       tenant.:service   -> service.tenant.service, shared by all hosts that serve it
//                       host.HOST         -> inbox.HOST: replies
//   env.event (direct)  tenant.:service   -> inbox.HOST of each host that serves it
//                       host.presence     -> host.HOST of every host: presence.c, and so trace.c
//   env.dead (fanout)                     -> dead
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "remote/remote_internal.h"
#include "route/queues.h"

#define QUEUE_MESSAGES_MAX 10000
#define QUEUE_BYTES_MAX    (256u << 20)
#define INBOX_MESSAGES_MAX 100000
#define INBOX_BYTES_MAX    (1ull << 30)
#define TALK_MESSAGES_MAX  10000
#define TALK_BYTES_MAX     (64u << 20)
#define DEAD_MESSAGES_MAX  100000
#define DEAD_BYTES_MAX     (1ull << 30)

static void queue_name(const char *what, const char *tenant, const char *name, char out[QUEUE_NAME_CAP])
{
    snprintf(out, QUEUE_NAME_CAP, "%s.%s.%s", what, tenant, name);
}

// Only names that are too long, which ours are not, or no memory.
static void check(int rc, const char *what)
{
    if (rc < 0)
        log_error(NULL, "cannot ask the broker for %s: out of memory", what);
}

// A mailbox serves one consumer at a time: when its host's connection breaks, what that was given comes again
// before the new one is given anything.
static void want_queue(struct remote *r, const char *name, const char *key, bool mailbox)
{
    const struct broker_binding binding = {AMQP_EXCHANGE, key};
    const struct broker_queue q = {.name = name,
                                   .messages_max = QUEUE_MESSAGES_MAX,
                                   .bytes_max = QUEUE_BYTES_MAX,
                                   .one_consumer = mailbox,
                                   .dead_letter_exchange = AMQP_EXCHANGE_DEAD,
                                   .bindings = &binding,
                                   .n_bindings = 1};
    check(broker_want_queue(r->broker, &q), name);
}

static int want_inbox(struct remote *r)
{
    char key[AMQP_KEY_CAP];
    amqp_key(NAME_HOST, r->host, false, key);
    const struct broker_binding binding = {AMQP_EXCHANGE, key};
    const struct broker_queue q = {.name = r->inbox,
                                   .messages_max = INBOX_MESSAGES_MAX,
                                   .bytes_max = INBOX_BYTES_MAX,
                                   .dead_letter_exchange = AMQP_EXCHANGE_DEAD,
                                   .exclusive_host = true,
                                   .bindings = &binding,
                                   .n_bindings = 1};
    int rc = broker_want_queue(r->broker, &q);
    return rc == 0 && !intake_start(r, INTAKE_INBOX, "", "", r->inbox) ? -1 : rc;
}

// What hosts tell each other is worth nothing after a while: it lies in a queue of its own, where what
// expires while this host is away does not become a dead letter.
static int want_talk(struct remote *r)
{
    const struct broker_queue q = {.name = r->talk,
                                   .messages_max = TALK_MESSAGES_MAX,
                                   .bytes_max = TALK_BYTES_MAX,
                                   .exclusive_host = true};
    int rc = broker_want_queue(r->broker, &q);
    return rc == 0 && !intake_start(r, INTAKE_INBOX, "", "", r->talk) ? -1 : rc;
}

int remote_topology_init(struct remote *r)
{
    const struct broker_binding dead = {AMQP_EXCHANGE_DEAD, ""};
    const struct broker_queue q = {.name = AMQP_QUEUE_DEAD,
                                   .messages_max = DEAD_MESSAGES_MAX,
                                   .bytes_max = DEAD_BYTES_MAX,
                                   .bindings = &dead,
                                   .n_bindings = 1};
    int rc = broker_want_exchange(r->broker, AMQP_EXCHANGE, "direct");
    if (rc == 0)
        rc = broker_want_exchange(r->broker, AMQP_EXCHANGE_EVENT, "direct");
    if (rc == 0)
        rc = broker_want_exchange(r->broker, AMQP_EXCHANGE_DEAD, "fanout");
    if (rc == 0)
        rc = broker_want_queue(r->broker, &q);
    if (rc == 0)
        rc = want_inbox(r);
    return rc == 0 ? want_talk(r) : rc;
}

void remote_topology_environment_added(void *arg, const char *tenant, const char *name, bool queue)
{
    struct remote *r = arg;
    char key[AMQP_KEY_CAP], own[QUEUE_NAME_CAP];
    if (!r->broker)
        return;
    amqp_key(tenant, name, false, key);
    queue_name("mailbox", tenant, name, own);
    if (!queue) {
        check(broker_want_binding(r->broker, r->inbox, AMQP_EXCHANGE, key), key);
        return;
    }
    int rc = router_keep_queue(r->router, own, tenant, name);
    if (rc < 0)
        log_warn(NULL, "%s may stay at the broker after its environment: it cannot be remembered: %s", own,
                 strerror(-rc));
    want_queue(r, own, key, true);
}

static void stop_intake(struct remote *r, const char *queue)
{
    struct intake *in = intake_find_queue(r, queue);
    if (in)
        intake_stop(in);
}

// With what is in it. A name belongs to one host: made again on another one before the broker hears of this,
// an environment loses the mail of until then.
static void delete_queue(struct remote *r, const char *own)
{
    stop_intake(r, own);
    check(broker_unwant_queue(r->broker, own, true), own);
    router_forget_epochs(r->router, own);
}

void remote_topology_queue_left(void *arg, const char *queue)
{
    struct remote *r = arg;
    if (r->broker)
        delete_queue(r, queue);
}

void remote_topology_environment_removed(void *arg, const char *tenant, const char *name, bool queue)
{
    struct remote *r = arg;
    char key[AMQP_KEY_CAP], own[QUEUE_NAME_CAP];
    if (!r->broker)
        return;
    amqp_key(tenant, name, false, key);
    queue_name("mailbox", tenant, name, own);
    if (queue)
        delete_queue(r, own);
    else
        broker_unwant_binding(r->broker, r->inbox, AMQP_EXCHANGE, key);
}

void remote_topology_environment_running(void *arg, const char *tenant, const char *name, bool running)
{
    struct remote *r = arg;
    char own[QUEUE_NAME_CAP];
    queue_name("mailbox", tenant, name, own);
    if (!r->broker || !router_mailbox_is_queue(r->router, tenant, name))
        return; // the inbox is always consumed
    if (!running)
        stop_intake(r, own);
    else if (!intake_find_queue(r, own) && !intake_start(r, INTAKE_MAILBOX, tenant, name, own))
        check(-1, own);
}

// A service's queue stays when the last server here goes, and also after the end of the environment or the
// tenant: others may serve it, and what was accepted waits for who will. There is no sound way to delete it:
// RabbitMQ's if-unused and if-empty do not count what a consumer of another host was given, left, and is
// about to put back (rabbit_amqqueue_process:is_empty() of 3.10 counts what is ready), a queue that expires
// takes accepted messages with it, and quorum queues answer both flags by closing the connection
// (rabbit_quorum_queue:delete/4). Operators delete it, when nobody of that tenant serves any more.
void remote_topology_service_served(void *arg, const char *tenant, const char *service, bool served)
{
    struct remote *r = arg;
    char key[AMQP_KEY_CAP], queue[QUEUE_NAME_CAP];
    if (!r->broker)
        return;
    amqp_key(tenant, service, true, key);
    queue_name("service", tenant, service, queue);
    if (!served) {
        stop_intake(r, queue);
        broker_unwant_queue(r->broker, queue, false);
        broker_unwant_binding(r->broker, r->inbox, AMQP_EXCHANGE_EVENT, key);
        return;
    }
    want_queue(r, queue, key, false);
    check(broker_want_binding(r->broker, r->inbox, AMQP_EXCHANGE_EVENT, key), key);
    if (!intake_find_queue(r, queue) && !intake_start(r, INTAKE_SERVICE, tenant, service, queue))
        check(-1, queue);
}

int remote_queue_count(struct remote *r, const char *tenant, const char *name, broker_count_cb *cb, void *arg,
                       uint64_t tag)
{
    char own[QUEUE_NAME_CAP];
    queue_name("mailbox", tenant, name, own);
    return r->broker ? broker_count(r->broker, own, cb, arg, tag) : -ENOTCONN;
}
