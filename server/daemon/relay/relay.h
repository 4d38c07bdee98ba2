// Carries bytes between a client and a guest, both ways, until either end closes. Called by api/, which says
// what may pass; knows neither HTTP nor environments. One loop's thread; nothing blocks.
//
// Back-pressure: while one end has RELAY_BUFFER bytes that it does not take, the other is not read.
#pragma once

#include <event2/bufferevent.h>
#include <event2/event.h>

#define RELAY_BUFFER   (128u << 10) // towards each end; one read of at most 16 KiB goes on top
#define RELAY_FLUSH_MS 10000u       // after the one end closed, for the other to take what is left
#define RELAY_PROBE_MS 1000u        // how soon a client that leaves is noticed while it is not read

struct relay;

enum relay_from { RELAY_CLIENT, RELAY_GUEST };

struct relay_cb {
    // Moves what may pass from in to out; bytes may stay in `in` until more has come. NULL, or why the relay
    // must end. Must not free the relay.
    const char *(*pass)(void *arg, enum relay_from from, struct evbuffer *in, struct evbuffer *out);
    // Over, and everything written that could be; reason is a sentence for the log. The relay frees itself
    // after this returns. Not called after relay_free().
    void (*on_end)(void *arg, const char *reason);
};

// Takes over both ends on success: the client's bufferevent with what is in its buffers already, and the
// guest's descriptor, a connected stream socket. 0, -ENOMEM, or what fcntl says.
int relay_new(struct event_base *base, struct bufferevent *client, int guest_fd, const struct relay_cb *cb,
              void *arg, struct relay **ret);
// Queues bytes for an end, besides those that pass: a first frame, a last word. 0 or -ENOMEM.
int relay_send(struct relay *relay, enum relay_from to, const void *data, size_t len);
// Nothing passes any more; on_end comes when both ends have what was queued for them, or do not take it.
void relay_finish(struct relay *relay, const char *reason);
// At once, without a callback. Accepts NULL. Safe within on_end.
void relay_free(struct relay *relay);
