// The publications that were sent and not confirmed: which tag is whose, what confirms and returns mean.
// Pure: no connection, no clock. Called by publish.c.
#pragma once

#include "broker/item.h"
#include "common/siphash.h"

struct window {
    struct publication **slots; // by tag; NULL: it has its outcome
    uint64_t mask;
    uint64_t size;         // most tags between the oldest unconfirmed one and the next
    uint64_t oldest, next; // tags
    size_t n;              // publications in it
    struct table by_id;
    struct siphash_key key;
};

// 0 or -ENOMEM.
int window_init(struct window *w, uint32_t size);
void window_done(struct window *w); // it must be empty
bool window_has_room(const struct window *w);
// Gives it the next tag. There must be room.
void window_add(struct window *w, struct publication *p);
// The broker's word about a tag, or about all up to it: those publications go to the end of done, with their
// outcome. False: that tag was never given.
bool window_confirm(struct window *w, uint64_t tag, bool multiple, bool ack, struct item_queue *done);
// The broker returned the message of that id: its confirm, which follows, will mean RETURNED.
void window_return(struct window *w, struct broker_text message_id, struct broker_text routing_key);
// Takes one out, whose outcome is known otherwise.
void window_remove(struct window *w, struct publication *p);
// Takes all out, oldest first, to the front of waiting, and starts tags anew: the channel is gone.
void window_reset(struct window *w, struct item_queue *waiting);
// The oldest, or NULL; and the one after p.
struct publication *window_first(const struct window *w);
struct publication *window_after(const struct window *w, const struct publication *p);
