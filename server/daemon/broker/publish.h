// Publications on their way: waiting, going out, unconfirmed; patience, and what becomes of them when a
// channel or a connection ends. Called by link.c, on the thread.
#pragma once

#include "broker/conn.h"
#include "broker/topology.h"
#include "broker/window.h"

#define CHANNEL_PUBLISH 1 // of the publishing connection

struct publisher {
    struct window window;
    struct topology *topology;
    struct item_queue waiting;   // in order; those that go out again are in front
    struct item_queue held;      // in order: what takes them is not declared yet
    struct publication *sending; // in the window, and its body is not out yet
    size_t sent_bytes;
    size_t
        suspects; // the broker closed the channel over one of so many: one at a time until they are through
    uint64_t earliest_ns;    // no publication's patience ends before
    uint64_t last_check_ns;  // of patience
    struct item_queue *done; // where outcomes go
    struct broker_stats *stats;
};

int publisher_init(struct publisher *p, uint32_t window, struct topology *topology, struct item_queue *done,
                   struct broker_stats *stats);
void publisher_done(struct publisher *p);
void publisher_add(struct publisher *p, struct publication *pub);
// What was held may go now: it is looked at again, before what waits.
void publisher_release(struct publisher *p);
// Sends what may go out now. *ret_more: it stopped for others' sake. 0, or -1 with the failure.
int publisher_pump(struct publisher *p, struct conn *c, bool *ret_more, struct failure *ret);
// basic.ack and basic.nack. False: a tag that was never given.
bool publisher_confirmed(struct publisher *p, uint64_t tag, bool multiple, bool ack, uint64_t now_ns);
// Gives up on those whose patience has ended. *next_ns: lowered to when this is wanted again.
void publisher_check_patience(struct publisher *p, uint64_t now_ns, uint64_t *next_ns);
// The broker closed the channel over one of them.
void publisher_channel_closed(struct publisher *p, uint16_t code, uint64_t now_ns);
// The connection is gone: what is unconfirmed waits again, in its order.
void publisher_connection_lost(struct publisher *p);
// Everything gets an outcome.
void publisher_give_up(struct publisher *p);
