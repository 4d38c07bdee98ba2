// What shall be there at the broker, what is, and the next step from one to the other. Steps are sent without
// waiting and answered in order, per channel. Called by link.c, on the thread; sends through conn.
#pragma once

#include "broker/conn.h"
#include "broker/frames.h"
#include "broker/item.h"
#include "common/siphash.h"

#define CHANNEL_CONSUME   1 // of the consuming connection: consumers
#define CHANNEL_DECLARE   2 // exchanges, queues, bindings; also closed by the broker when one is refused
#define CHANNEL_GET       3
#define PIPELINE_MAX      128
#define TOPOLOGY_RETRY_MS 3000 // what was refused

enum thing_state { THING_MISSING, THING_ASKED, THING_THERE, THING_FAILED };

// What every wanted thing has.
struct thing {
    enum thing_state state;
    bool wanted;
};

struct exchange {
    TAILQ_ENTRY(exchange) link; // topology.exchanges
    struct thing thing;
    char *name, *type;
};

struct binding {
    TAILQ_ENTRY(binding) link; // queue.bindings_todo or .bindings
    struct table_node node;
    struct thing thing;
    bool todo;
    struct queue *queue;
    char *exchange, *key;
};

struct consumer {
    TAILQ_ENTRY(consumer) link;      // queue.consumers
    TAILQ_ENTRY(consumer) todo_link; // topology.consumers_todo
    struct table_node node;
    struct thing thing;
    bool todo;
    uint64_t number;
    uint16_t prefetch;
    struct queue *queue;
};

struct queue {
    TAILQ_ENTRY(queue) link, todo_link;
    struct table_node node;
    struct thing thing; // wanted: declared by us; else somebody else's, only looked at
    bool todo, delete_it, deleting, ready;
    bool changed; // while it was asked for: what is answered is not what is wanted
    unsigned n_bindings_asked, n_steps;
    struct wish_queue limits;
    char *name, *dead_letter_exchange;
    TAILQ_HEAD(, binding) bindings_todo, bindings;
    TAILQ_HEAD(, consumer) consumers;
};

enum step_kind {
    STEP_EXCHANGE,
    STEP_QUEUE,
    STEP_DELETE,
    STEP_BIND,
    STEP_UNBIND,
    STEP_QOS,
    STEP_CONSUME,
    STEP_CANCEL
};

// Sent, not answered yet. Things live at least as long as their steps.
struct step {
    enum step_kind kind;
    union {
        struct exchange *exchange;
        struct queue *queue;
        struct binding *binding;
        struct consumer *consumer;
    };
};

struct pipeline {
    struct step steps[PIPELINE_MAX];
    size_t head, n;
};

struct topology {
    const struct settings *settings;
    TAILQ_HEAD(, exchange) exchanges;
    TAILQ_HEAD(, queue) queues, queues_todo;
    TAILQ_HEAD(, consumer) consumers_todo;
    struct table queues_by_name, bindings_by_names, consumers_by_number;
    struct siphash_key key;
    struct pipeline declaring, consuming;
    size_t n_failed;
    uint16_t prefetch;        // of the last basic.qos on this channel; 0: none yet
    uint64_t retry_ns;        // when what FAILED is tried again; UINT64_MAX: nothing did
    char why[BROKER_WHY_CAP]; // see topology_why()
    struct item_queue *out;   // queue_ready
    struct broker_stats *stats;
};

int topology_init(struct topology *t, const struct settings *s, struct item_queue *out,
                  struct broker_stats *stats);
void topology_done(struct topology *t);

// --- wishes: wishes.c ---
int topology_apply(struct topology *t, const struct wish *w);                  // 0 or -ENOMEM
struct consumer *topology_consumer(const struct topology *t, uint64_t number); // NULL: none wanted
// For the files of topology only.
void thing_set(struct topology *t, struct thing *thing, enum thing_state state);
void queue_touch(struct topology *t, struct queue *q);
void binding_touch(struct topology *t, struct binding *b);
void consumer_touch(struct topology *t, struct consumer *c);
void queue_free_if_unused(struct topology *t, struct queue *q);
void binding_free(struct topology *t, struct binding *b);
void consumer_free(struct topology *t, struct consumer *c);

// --- steps: topology.c ---
// Sends what may be sent. declare, consume: the channels are open. 0, or -1 with the failure.
int topology_pump(struct topology *t, struct conn *c, bool declare, bool consume, struct failure *ret);
// Nothing is left to do or to be answered.
bool topology_settled(const struct topology *t);
// What the broker said when it refused something, until everything is there: then "".
const char *topology_why(struct topology *t);
// An answer on that channel. False: it answers nothing that was asked.
bool topology_answered(struct topology *t, amqp_channel_t channel, amqp_method_number_t method);
// The broker closed that channel: over the step that would have been answered next, if there was one.
void topology_channel_closed(struct topology *t, amqp_channel_t channel, uint64_t now_ns, const char *why);
// The broker ended a consumer, as a rule because its queue is gone.
void topology_cancelled(struct topology *t, amqp_bytes_t consumer_tag);
// The connection is gone: nothing is there any more.
void topology_reset(struct topology *t);
void topology_retry(struct topology *t, uint64_t now_ns, uint64_t *next_ns);
