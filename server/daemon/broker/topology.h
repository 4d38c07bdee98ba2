// What shall be there at the broker, what is, and the next step from one to the other. Steps are sent without
// waiting and answered in order, per channel, but those of consumers. Called by link.c, on the thread; sends
// through conn.
#pragma once

#include "broker/conn.h"
#include "broker/consume.h"
#include "broker/frames.h"
#include "broker/item.h"
#include "common/siphash.h"

#define CHANNEL_CONSUME   1 // of the consuming connection: consumers
#define CHANNEL_GET       2
#define CHANNEL_DECLARE   3 // the first of several: exchanges, queues, bindings; closed when one is refused
#define N_DECLARING       4 // the broker works on one step of each at a time; a queue keeps to one of them
#define N_CHANNELS        (CHANNEL_DECLARE + N_DECLARING) // by number; 0 is the connection
#define PIPELINE_MAX      64
#define TOPOLOGY_RETRY_MS 3000  // what was refused
#define TOPOLOGY_LOSS_MS  60000 // what hosts have to declare anew after a broker lost its data

enum thing_state { THING_MISSING, THING_ASKED, THING_THERE, THING_FAILED };

// What every wanted thing has.
struct thing {
    enum thing_state state;
    bool wanted;
    bool awaited; // a publication is held for it
};

struct exchange {
    TAILQ_ENTRY(exchange) link; // topology.exchanges
    struct thing thing;
    char *name, *type;
};

struct binding {
    TAILQ_ENTRY(binding) link;          // queue.bindings_todo or .bindings
    struct table_node node, by_address; // by exchange and key
    struct thing thing;
    bool todo, was_there;
    struct queue *queue;
    char *exchange, *key;
};

struct consumer {
    TAILQ_ENTRY(consumer) link;      // queue.consumers
    TAILQ_ENTRY(consumer) todo_link; // topology.consumers_todo or .consumers_waiting
    struct table_node node;
    struct thing thing;
    bool todo, waits;
    uint64_t number;
    uint16_t prefetch;
    struct queue *queue;
};

struct queue {
    TAILQ_ENTRY(queue) link, todo_link;
    struct table_node node;
    struct thing thing; // wanted: declared by us; else somebody else's, only looked at
    bool todo, delete_it, deleting, ready;
    bool was_there; // on an earlier connection, and nothing says that it is gone
    bool look;      // ask for it as it is, whatever its arguments
    bool differs;   // it is there with other arguments than the wanted ones
    uint8_t channel;
    uint64_t serial; // no other queue's, also after this one
    bool changed;    // while it was asked for: what is answered is not what is wanted
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
    TAILQ_HEAD(, consumer) consumers_waiting; // for the deliveries of the one before to be settled
    const struct deliveries *unsettled;
    uint64_t last_serial;
    struct table queues_by_name, bindings_by_names, bindings_by_address, consumers_by_number;
    struct siphash_key key;
    struct pipeline pipelines[N_CHANNELS];
    uint8_t last_channel;
    size_t n_failed, n_differing;
    struct queue *probe;      // tells whether the broker still has what it had; NULL: it was told, or never
    uint64_t loss_ns;         // until when others may not have declared anew what the broker lost
    bool news;                // something awaited is there, or will not be
    uint16_t prefetch;        // of the last basic.qos on this channel; 0: none yet
    uint64_t retry_ns;        // when what FAILED is tried again; UINT64_MAX: nothing did
    uint64_t look_ns;         // when queues that differ are looked at again
    char why[BROKER_WHY_CAP]; // see topology_why()
    char differing[BROKER_WHY_CAP];
    struct item_queue *out; // queue_ready
    struct broker_stats *stats;
};

// unsettled: what consumers were given.
int topology_init(struct topology *t, const struct settings *s, const struct deliveries *unsettled,
                  struct item_queue *out, struct broker_stats *stats);
void topology_done(struct topology *t);

// --- wishes: wishes.c ---
int topology_apply(struct topology *t, const struct wish *w);                         // 0 or -ENOMEM
struct queue *topology_queue(const struct topology *t, const char *name, size_t len); // NULL: none
struct consumer *topology_consumer(const struct topology *t, uint64_t number);        // NULL: none wanted
uint64_t topology_serial(const struct topology *t, uint64_t consumer); // of its queue; 0: unknown
// For the files of topology only.
void thing_set(struct topology *t, struct thing *thing, enum thing_state state);
void queue_gone(struct queue *q); // that it and its bindings were there counts no longer
void queue_set_differs(struct topology *t, struct queue *q, bool differs); // looks, then, at what is there
void queue_rebuild(struct topology *t, struct queue *q); // asks for it anew, and for its bindings
void topology_end_probe(struct topology *t);
void queue_touch(struct topology *t, struct queue *q);
void binding_touch(struct topology *t, struct binding *b);
void consumer_touch(struct topology *t, struct consumer *c);
void queue_free_if_unused(struct topology *t, struct queue *q);
void binding_list(struct topology *t, struct binding *b); // by its address: holds.c
void binding_free(struct topology *t, struct binding *b);
void consumer_free(struct topology *t, struct consumer *c);

// --- steps: topology.c ---
// Sends what may be sent over the channels that are open. 0, or -1 with the failure.
int topology_pump(struct topology *t, struct conn *c, const bool open[N_CHANNELS], struct failure *ret);
// Publications may go: their exchanges are there, and whether the broker lost its data is known.
bool topology_publishable(const struct topology *t);
// What the broker said when it refused something, until everything is there; which queues differ from what is
// wanted; or "".
const char *topology_why(struct topology *t);

// The loop is to know that it is ready, or deleted. Without memory it does not.
void topology_tell(struct topology *t, const struct queue *q, enum item_kind what);

// --- publications: holds.c ---
// Whether a publication has to wait, for what this link wants to take it is not declared yet. That comes next
// then, and news is set when it is there.
bool topology_holds(struct topology *t, amqp_bytes_t exchange, amqp_bytes_t key);
// The broker returned it. Whether that means that nobody takes it, and not that it will be declared.
bool topology_nobody_takes(const struct topology *t, amqp_bytes_t exchange, amqp_bytes_t key,
                           uint64_t now_ns);

// --- answers: answers.c ---
// An answer on that channel. False: it answers nothing that was asked.
bool topology_answered(struct topology *t, amqp_channel_t channel, amqp_method_number_t method,
                       const void *decoded);
// The broker closed that channel, over a step or for another reason.
void topology_channel_closed(struct topology *t, amqp_channel_t channel, uint64_t now_ns, uint16_t code,
                             const char *why);
// The broker ended a consumer, as a rule because its queue is gone.
void topology_cancelled(struct topology *t, amqp_bytes_t consumer_tag);
// The connection is gone: nothing is there any more.
void topology_reset(struct topology *t);
void topology_retry(struct topology *t, uint64_t now_ns, uint64_t *next_ns);
