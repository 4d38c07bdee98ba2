// The way to one receiver's queue: how what leaves for it becomes AMQP messages. Called by outgoing.c; knows
// publications, not what they say.
#pragma once

#include "broker/broker.h"

struct remote;

struct lane_done {
    broker_done_cb *done;
    void *arg;
};

// As broker_publish(), on the exchange env: leaves alone, or together with others for the same routing key.
// Copies the publication; needs its patience_ms. expires_ms: when it is worth nothing any more, realtime; 0:
// never. -ENOMEM; -ENOBUFS: too much waits; -EINVAL: as the broker's. Not after remote_stop(), which tells
// all who wait.
int lane_send(struct remote *r, const struct broker_publication *publication, uint64_t expires_ms,
              broker_done_cb *done, void *arg);
