// Messages between hosts: what this host's environments and services want of the broker (queues, bindings,
// consumers), messages on their way out, and deliveries on their way into local mailboxes. Made by main, used
// by the router through route/remote.h; the API reads its figures. Knows AMQP's shapes and the router's
// questions; no policy, no mailbox. One loop's thread.
#pragma once

#include "broker/broker.h"
#include "mediate/mediator.h"
#include "remote/amqp_map.h"
#include "route/remote.h"

struct remote;

struct remote_config {
    const struct broker_config *broker; // its user is "envd.<host>", by password or by certificate
    const char *host;                   // this host's name, a valid name
    uint64_t epoch;                     // remote_epoch()
};

// Starts the link and puts itself behind the router (router_set_remote()). Before environments are added.
// Errors: broker_new()'s, or -EINVAL for the name.
int remote_new(struct event_base *base, const struct remote_config *config, struct router *router,
               struct mediator *mediator, struct remote **ret, struct err *err);
// Ends the link: messages whose outcome is not known get one now, so senders must still be there. Afterwards
// the router finds everything elsewhere unreachable. Accepts NULL.
void remote_stop(struct remote *r);
void remote_free(struct remote *r); // after the router was freed; accepts NULL

// This start's epoch: the last one's, kept in a file in folder, and one more. The first is the time of day,
// so that a folder that was lost does not count from one again.
int remote_epoch(const char *folder, uint64_t realtime_ms, uint64_t *ret, struct err *err);

struct remote_stats {
    struct broker_stats broker;
    uint64_t delivered;                   // deliveries that were taken in or refused
    uint64_t malformed[AMQP_FAULT_COUNT]; // refused unread, by what is wrong with them
    uint64_t stale;                       // refused: from an earlier life of their host
    uint64_t refused[RECEIPT_CODE_COUNT]; // by the router, for good
    uint64_t late;                        // replies that nobody waits for any more
    uint64_t put_back;                    // for want of room
    uint64_t bundles, bundled;            // that left: AMQP messages of several, and messages in them
    uint64_t gathering_bytes;             // now: of messages that wait for earlier ones' confirms
    uint64_t consumers, held, paused;     // now: queues that are consumed, deliveries stored whose
                                          // acknowledgement waits for room, queues left alone until there is
};
void remote_get_stats(const struct remote *r, struct remote_stats *ret);

// Asks how many messages wait at the broker in the queue of an environment's own. -ENOTCONN: stopped; else as
// broker_count(); no call back after remote_stop().
int remote_queue_count(struct remote *r, const char *tenant, const char *name, broker_count_cb *cb, void *arg,
                       uint64_t tag);
