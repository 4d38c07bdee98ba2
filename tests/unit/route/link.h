// A link to other hosts that the test plays, and two environments here: acme/web whose mail comes directly,
// acme/db whose mail comes by a queue. Called by remote_*_test.c.
#pragma once

#include "fixture.h"

#include "route/remote.h"
#include "route/trace.h"

extern struct fixture f;

// What the router last asked of the link.
struct link {
    unsigned n_sent;
    int rc; // of the next send
    enum remote_way way;
    enum message_kind kind;
    char to[ADDRESS_CAP], from[ADDRESS_CAP], host[NAME_CAP], reply_to[64], correlation[64], label[64];
    char body[128];
    enum receipt_code refusal;
    struct id id, call;
    uint64_t expires_ms;
    remote_done_cb *done;
    void *done_arg;
    char told[256]; // everything else that the link was told, in order
};

extern struct link link_;
extern struct endpoint *web, *db; // acme/web's mail comes directly, acme/db's by a queue

int setup(void **state);
int teardown(void **state);

// The last receipt.
extern struct router_receipt last;

void note_receipt(void *arg, const struct router_receipt *receipt);
struct envelope envelope(unsigned n, const char *from, const char *to, enum message_kind kind);
struct envelope reply_envelope(unsigned n, unsigned call, const char *from, const char *to);

// How many receipts came at once.
unsigned submit(struct endpoint *ep, const struct envelope *e);

unsigned send_kind(struct endpoint *ep, unsigned n, const char *to, enum message_kind kind);

// The link's answer to the last message, and the receipt that it becomes.
enum receipt_code link_says(enum remote_outcome outcome);

extern struct remote_refusal refused; // the last one

// What was decided of an arrival; the refusal that its caller would be told is in refused.
enum receipt_code deliver(const struct remote_arrival *a);

enum receipt_code arrives(const struct envelope *e, const char *host);

// The number of the next message, 0 when there is none; acknowledged.
unsigned receive(struct endpoint *ep, char from[ADDRESS_CAP]);

void add_stage(void *arg, const struct trace_view *v);
