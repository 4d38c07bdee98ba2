// The broker's thread: two connections, their life, and what passes between them and the loop. Called by
// broker.c, which owns the loop's side. Internal to broker/.
#pragma once

#include "broker/consume.h"
#include "broker/frames.h"
#include "broker/get.h"
#include "broker/publish.h"
#include "broker/topology.h"

struct link {
    struct settings settings;
    struct lane in, out;
    // What both sides look at.
    pthread_mutex_t lock; // guards the next three
    struct broker_stats shared;
    uint64_t shared_blocked_ns; // since when; 0: it is not blocked
    uint64_t shared_serial;     // grows with each change of state or reason
    // From here on the thread's only, while it runs.
    struct conn publishing, consuming;
    bool publish_open, confirming, renewing, blocked;
    bool open[N_CHANNELS]; // of the consuming connection
    struct assembly returned, assemblies[N_CHANNELS];
    struct publisher publisher;
    struct topology topology;
    struct deliveries consumed, got;
    struct getter getter;
    struct item_queue outgoing;
    struct broker_stats stats;
    uint64_t serial, generation, now_ns, retry_ns, setup_ns, blocked_ns, renewed_ns, renew_wait_ns;
    uint32_t backoff_ms;
    bool more; // work is left: do not sleep
};

// Everything but the lanes and settings, which are there. 0 or -ENOMEM.
int link_init(struct link *l);
void link_done(struct link *l);
void *link_main(void *link); // the thread; ends when in is closed

// --- link_life.c: connecting, states, ending ---
static inline bool link_up(const struct link *l)
{
    return l->publishing.amqp != NULL;
}
void link_connect(struct link *l);
void link_lost(struct link *l, const struct failure *f);
void link_check_ready(struct link *l); // says READY or BLOCKED as things are
void link_set_state(struct link *l, enum broker_state state, const char *why);
void link_channel_new(struct link *l, amqp_channel_t channel); // of the consuming connection: tags start anew
void link_close(struct link *l);
#define LINK_DRAIN_NS 1000000000u                    // how long a renewal waits for confirms
void link_begin_renewal(struct link *l);             // a quorum queue refused: a new channel may be wanted
int link_renew(struct link *l, struct failure *ret); // when nothing is unconfirmed, or that took too long

// --- link_frames.c: what the broker says ---
int link_read(struct link *l, struct failure *ret);
