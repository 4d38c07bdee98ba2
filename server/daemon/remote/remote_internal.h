// What the files of remote/ share.
#pragma once

#include <sys/queue.h>

#include "common/siphash.h"
#include "common/table.h"
#include "remote/remote.h"
#include "route/epochs.h"

#define INTAKE_PREFETCH_MAX 256
#define QUEUE_NAME_CAP      (sizeof "mailbox." + AMQP_KEY_CAP)

enum intake_kind { INTAKE_INBOX, INTAKE_MAILBOX, INTAKE_SERVICE };

// The newest epoch that was seen of a host; the router keeps it, too (router_keep_epoch()).
struct host_epoch {
    LIST_ENTRY(host_epoch) link;
    uint64_t epoch;
    char host[NAME_CAP];
};

// A queue that is consumed while its receivers run. What was stored while they already have much to do is
// acknowledged later, so that the broker sends no more: its prefetch is the credit. When that takes too long,
// or a mailbox is full, the queue is left alone for a while.
struct intake {
    struct table_node by_id, by_queue;
    LIST_ENTRY(intake) link, in_holding; // in_holding: while a service's has n_held
    struct remote *remote;
    uint64_t id; // the broker's name for the consumer: new at each start of consuming, 0: not consumed
    enum intake_kind kind;
    bool paused;
    uint64_t paused_ms, held_ms; // since when
    uint32_t n_held, held_at;    // ring of handles: stored, and not yet acknowledged
    uint64_t held[INTAKE_PREFETCH_MAX];
    LIST_HEAD(, host_epoch) epochs;
    char tenant[NAME_CAP], name[NAME_CAP];
    char queue[QUEUE_NAME_CAP];
};

// Another host that was heard of.
struct peer {
    LIST_ENTRY(peer) link;
    uint64_t heard_ms;
    bool silent;
    char host[NAME_CAP];
};

struct trace_round;
struct dead_walk;
struct seen;

struct remote {
    struct event_base *base;
    struct router *router;
    struct mediator *mediator;
    struct broker *broker; // NULL: stopped
    char host[NAME_CAP], user[NAME_CAP + sizeof AMQP_USER_HOST], inbox[QUEUE_NAME_CAP], talk[QUEUE_NAME_CAP];
    char broker_host[64];
    struct amqp_self self;
    struct siphash_key key;
    struct table intakes_by_id, intakes_by_queue;
    LIST_HEAD(, intake) intakes, services_holding;
    uint64_t ids;
    struct table lanes;        // what leaves, by routing key: lane.c
    size_t waiting_bytes;      // in them
    struct table bundles;      // what arrived as one, by handle: incoming_bundle.c
    struct seen *buried_parts; // refuse.c; NULL: none yet
    bool stopping;             // the last outcomes come while the link ends
    struct event *tick;
    char presence_key[AMQP_KEY_CAP];
    uint64_t alive_ms; // when this host last said that it is there
    LIST_HEAD(, peer) peers;
    char trace_key[AMQP_KEY_CAP], answer_key[AMQP_KEY_CAP];
    LIST_HEAD(, trace_round) traces;  // questions to the other hosts, until they are answered
    uint64_t started_ms, answered_ms; // and how many questions of others were answered since then
    uint32_t n_answered;
    struct dead_walk *dead; // among the broker's dead letters; NULL: nobody looks
    struct remote_stats stats;
    uint64_t said_ms;              // when the log last heard of a refusal
    struct amqp_outgoing outgoing; // too large for the stack
    struct amqp_incoming incoming;
};

// outgoing.c: remote_ops.send.
int remote_send(void *arg, const struct remote_message *m, remote_done_cb *done, void *done_arg);

// topology.c: the other remote_ops, and what is wanted from the start.
int remote_topology_init(struct remote *r);
void remote_topology_environment_added(void *arg, const char *tenant, const char *name, bool queue);
void remote_topology_environment_removed(void *arg, const char *tenant, const char *name, bool queue);
void remote_topology_queue_left(void *arg, const char *queue);
void remote_topology_environment_running(void *arg, const char *tenant, const char *name, bool running);
void remote_topology_service_served(void *arg, const char *tenant, const char *service, bool served);

// intake.c
struct intake *intake_find(const struct remote *r, uint64_t id);
struct intake *intake_find_queue(const struct remote *r, const char *queue);
// Wants a consumer of that queue. NULL: no memory.
struct intake *intake_start(struct remote *r, enum intake_kind kind, const char *tenant, const char *name,
                            const char *queue);
void intake_stop(struct intake *in);                    // and frees it; what is held is acknowledged
void intake_stored(struct intake *in, uint64_t handle); // acknowledges now or later
void intake_pause(struct intake *in);                   // a receiver is full
void intake_forget_held(struct remote *r);              // the connection is gone, and its handles with it
void intake_on_processed(void *arg, const char *tenant, const char *name); // remote_ops.mail_processed
void intake_tick(struct remote *r, uint64_t now_ms);
// Whether that host has been heard of in a later life; what the broker delivers again proves nothing. UNKEPT:
// in no later one, but this one cannot be remembered now.
enum intake_epoch { INTAKE_EPOCH_HOLDS, INTAKE_EPOCH_STALE, INTAKE_EPOCH_UNKEPT };
enum intake_epoch intake_epoch(struct intake *in, const char *host, uint64_t epoch, bool redelivered);

// presence.c
int remote_presence_init(struct remote *r);
void remote_presence_done(struct remote *r);
void remote_presence_went(void *arg, const char *tenant, const char *name, const char *reason); // remote_ops
void remote_presence_ask(void *arg, const char *tenant, const char *name);                      // remote_ops
// Whether a delivery is one host's word to the others, and no message.
bool remote_presence_is(const struct remote *r, const struct broker_delivery *d);
void remote_presence_heard(struct remote *r, const struct broker_delivery *d);
void remote_presence_tick(struct remote *r, uint64_t now_ms);
// Who says a word of host to host: the broker validates user-ids, and only hosts may write to env.event.
bool remote_talk_sender(const struct broker_delivery *d, char host[NAME_CAP]);
bool remote_talk_header(const struct broker_delivery *d, const char *name, char *out, size_t cap);

// trace.c
int remote_trace_init(struct remote *r);
void remote_trace_done(struct remote *r); // nobody is told
bool remote_trace_is(const struct remote *r, const struct broker_delivery *d);
void remote_trace_heard(struct remote *r, const struct broker_delivery *d);

// dead_replay.c: the last header of that name: what a host adds is behind what the sender said.
struct broker_text remote_last_header(const struct broker_properties *p, const char *name);
// Publishes a dead letter again. -EINVAL: it is not to be, with a code and a constant
// sentence; done is not called then.
int remote_dead_publish(struct remote *r, const struct broker_delivery *letter, broker_done_cb *done,
                        void *arg, const char **ret_code, const char **ret_text);

// incoming_bundle.c: a bundle's parts share its handle, and each is settled by itself.
// Hands its parts to part(), one after the other. -EINVAL: it is none that a host makes; -ENOMEM.
int incoming_bundle_open(struct remote *r, const struct broker_delivery *d,
                         void (*part)(struct remote *r, const struct broker_delivery *part));
// False: other parts of that delivery are not settled yet. True: settle the delivery, as *how then says.
bool incoming_bundle_settled(struct remote *r, uint64_t handle, enum broker_settlement *how);
bool incoming_bundle_has(const struct remote *r,
                         uint64_t handle); // that delivery is a bundle, not settled yet
void incoming_bundles_done(struct remote *r);

// incoming.c
void incoming_delivery(void *arg, const struct broker_delivery *d); // broker_cb.on_delivery
// The broker is to deliver it again; in, unless NULL, is left alone for a while.
void incoming_put_back(struct remote *r, uint64_t handle, struct intake *in);

// refuse.c
void remote_settle(struct remote *r, uint64_t handle, enum broker_settlement how);
// For good: code and why go with it to the dead letters, refusal to its caller if there is one.
void refuse_delivery(struct remote *r, const struct broker_delivery *d, const char *code, const char *why,
                     const struct remote_refusal *refusal);
