// A sender and a receiver of numbered messages, and what must hold of them whatever happens to the broker.
#pragma once

#include "harness.h"

struct load {
    struct peer sender, receiver;
    const char *queue;
    size_t total, sent, in_flight_max;
};

// Both ready, the queue there and consumed.
void load_start(struct load *l, const struct broker_config *sender, const struct broker_config *receiver,
                const char *queue, size_t total);
// Keeps sending until seconds have passed or all are sent.
void load_run(struct load *l, unsigned ms);
// Sends the rest and waits for everything; then every message was confirmed and has arrived, and the first
// arrivals are in order.
void load_finish(struct load *l, unsigned seconds);
void load_stop(struct load *l);
