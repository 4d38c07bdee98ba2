// Both sides of a conversation: endpoints of some environments at one router, and what their callbacks said.
// Called by router_*_test.c.
#pragma once

#include "fixture.h"

extern struct fixture f;

// A side of the conversation: the endpoint, and what its callbacks said.
struct side {
    struct endpoint *ep;
    unsigned n_mail;
    bool removed;
};

extern struct side web, db, db2, eve;
extern const struct endpoint_cb callbacks;

void attach(struct side *side, const char *tenant, const char *name);
void detach(struct side *side);

// A router with that configuration, or its own, and all four sides attached; what setup() does with NULL.
void start(const struct router_config *config);

int setup(void **state);
int teardown(void **state);

// The last receipt, and how many there were.
extern struct router_receipt last;

extern unsigned n_receipts;

void note_receipt(void *arg, const struct router_receipt *receipt);
struct envelope envelope(unsigned n, const char *to, enum message_kind kind);

// What the sender is told of it; also in last.
enum receipt_code submit(struct side *side, const struct envelope *e);

enum receipt_code send_kind(struct side *side, unsigned n, const char *to, enum message_kind kind);
enum receipt_code send_to(struct side *side, unsigned n, const char *to);
enum receipt_code reply_to(struct side *side, unsigned n, unsigned call, const char *to);

// The number of the next message at that side, 0 when there is none; acknowledged.
unsigned receive(struct side *side, struct envelope *ret, bool replies_only);

void assert_view(struct wire_view v, const char *s);
