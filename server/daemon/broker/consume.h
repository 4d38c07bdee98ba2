// Deliveries that are not settled yet, of one channel: their handles, and settling them in as few frames as
// their order allows. Called by link.c, on the thread.
#pragma once

#include "broker/conn.h"
#include "broker/item.h"

struct unsettled {
    TAILQ_ENTRY(unsettled) link, marked_link;
    struct table_node node; // by handle
    struct tally *tally;
    uint64_t tag;
    enum broker_settlement how;
    bool marked; // to be settled
};
TAILQ_HEAD(unsettled_list, unsettled);

// How many of one queue there are, while there are any.
struct tally {
    struct table_node node; // by the queue's serial
    uint64_t n;
};

struct deliveries {
    amqp_channel_t channel;
    uint64_t generation; // of the channel: a tag means nothing on the next one
    struct table by_handle, tallies;
    struct unsettled_list all; // by tag
    struct unsettled_list marked;
    struct broker_stats *stats;
};

int deliveries_init(struct deliveries *d, amqp_channel_t channel, struct broker_stats *stats);
void deliveries_done(struct deliveries *d);
// The channel is new: forgets everything. generation: one that no channel had before.
void deliveries_reset(struct deliveries *d, uint64_t generation);
// queue: the serial of the queue that it comes from. Its handle, or 0: no memory.
uint64_t deliveries_add(struct deliveries *d, uint64_t tag, uint64_t queue);
// Whether any of that queue are not settled.
bool deliveries_any(const struct deliveries *d, uint64_t queue);
// False: no such handle.
bool deliveries_settle(struct deliveries *d, uint64_t handle, enum broker_settlement how);
// Takes the next frame's worth of what is marked: *ret_tag up to which (multiple) or which one. False:
// nothing.
bool deliveries_next(struct deliveries *d, uint64_t *ret_tag, bool *ret_multiple,
                     enum broker_settlement *ret_how);
// Sends all that may go out. 0, or -1 with the failure.
int deliveries_flush(struct deliveries *d, struct conn *c, struct failure *ret);
