// What the loop and the broker's thread hand each other: publications go and come back with their outcome,
// wishes and settlements go, deliveries come. An item belongs to whoever holds it. Internal to broker/.
#pragma once

#include <amqp.h>
#include <amqp_framing.h>
#include <pthread.h>
#include <sys/queue.h>

#include "broker/broker.h"
#include "common/table.h"

enum item_kind {
    // to the thread
    ITEM_PUBLICATION,
    ITEM_SETTLEMENT,
    ITEM_WISH,
    ITEM_GET,
    ITEM_COUNT, // and back
    // to the loop; publications too
    ITEM_ARRIVAL,
    ITEM_QUEUE_READY,
    ITEM_QUEUE_DELETED,
    ITEM_GET_END,
};

struct item {
    STAILQ_ENTRY(item) link;
    enum item_kind kind;
};
STAILQ_HEAD(item_queue, item);

// A queue with a lock, and a descriptor that is readable when it is not empty.
struct lane {
    pthread_mutex_t lock;
    struct item_queue items;
    int event_fd;
    bool closed; // the other side goes away: to the thread, in time
};

int lane_init(struct lane *lane); // 0 or -errno
void lane_done(struct lane *lane);
void lane_put(struct lane *lane, struct item *item);
void lane_put_all(struct lane *lane, struct item_queue *items); // empties items
// Moves everything to the end of ret and makes the descriptor unreadable. False when the lane was closed.
bool lane_take(struct lane *lane, struct item_queue *ret);
void lane_close(struct lane *lane);
void lane_wake(struct lane *lane); // readable, though nothing may be in it

// A publication in one allocation: AMQP's structs, the headers, then all bytes.
struct publication {
    struct item item;
    broker_done_cb *done; // the loop's
    void *arg;
    enum broker_outcome outcome;
    uint64_t deadline_ns;
    uint64_t cost_bytes;
    uint64_t tag;           // while it is unconfirmed
    struct table_node node; // likewise, by message id
    bool mandatory;
    bool returned;
    bool sent; // at least its first byte, once
    amqp_bytes_t exchange, routing_key, body;
    amqp_basic_properties_t properties;
    amqp_table_entry_t headers[];
};

// 0, -EINVAL or -ENOMEM.
int publication_new(const struct broker_publication *p, struct publication **ret);

struct settlement {
    struct item item;
    uint64_t handle;
    enum broker_settlement how;
};

enum wish_kind {
    WISH_EXCHANGE,
    WISH_QUEUE,
    WISH_NO_QUEUE,
    WISH_BINDING,
    WISH_NO_BINDING,
    WISH_CONSUMER,
    WISH_NO_CONSUMER,
};

struct wish_queue {
    uint32_t messages_max;
    uint64_t bytes_max;
    bool exclusive_host, one_consumer;
    bool delete_it; // WISH_NO_QUEUE
};

struct wish {
    struct item item;
    enum wish_kind kind;
    struct wish_queue limits;
    uint16_t prefetch;
    uint64_t consumer;
    char name[BROKER_SHORT_MAX + 1];  // the exchange, or the queue
    char other[BROKER_SHORT_MAX + 1]; // its type, its dead letter exchange, the exchange bound to
    char key[BROKER_SHORT_MAX + 1];
};

struct get {
    struct item item;
    uint32_t n;
    char queue[BROKER_SHORT_MAX + 1];
    char why[BROKER_WHY_CAP]; // ITEM_GET_END, "" when it did not end early
};

struct count {
    struct item item;
    broker_count_cb *cb; // the loop's
    void *arg;
    uint64_t tag;
    uint32_t messages;
    char queue[BROKER_SHORT_MAX + 1];
    char why[BROKER_WHY_CAP]; // "" when it is known
};

struct queue_news { // that it is ready, or deleted
    struct item item;
    char name[BROKER_SHORT_MAX + 1];
};

// A message that came, in one allocation: its texts and its body lie behind it.
struct arrival {
    struct item item;
    uint8_t channel;
    bool is_return, redelivered, truncated;
    bool oversized; // its body was not kept
    uint64_t tag, handle, consumer;
    struct broker_text exchange, routing_key;
    struct broker_text texts[7]; // in the order of struct broker_properties
    uint8_t priority;
    uint64_t timestamp;
    size_t n_headers;
    struct broker_header *headers;
    char *body;
    size_t body_len, body_got;
};

static inline struct broker_text text_of(amqp_bytes_t b)
{
    return (struct broker_text){b.bytes, b.len};
}

static inline amqp_bytes_t bytes_of(const char *s)
{
    return amqp_cstring_bytes(s);
}
