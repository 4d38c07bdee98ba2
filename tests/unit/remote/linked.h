// A link whose broker the test plays, and a router with acme/web, whose mail comes by the inbox, and acme/db,
// whose mail comes by a queue. Called by the tests of remote.
#pragma once

#include "remote/remote_internal.h"
#include "route/fixture.h"

#define SETTLED_MAX 2048

// What the link wanted of the broker, and what it is owed.
struct played_broker {
    struct broker_cb cb;
    void *arg;
    char wanted[4096];        // in order, one word each
    int settled[SETTLED_MAX]; // by handle: 1 + enum broker_settlement
    unsigned n_consumers;
    uint64_t mailbox_consumer, inbox_consumer, service_consumer, talk_consumer; // the last of each
    unsigned n_published;
    struct amqp_outgoing copy; // texts of the last publication
    struct broker_publication last;
    struct {
        broker_done_cb *done;
        void *arg;
    } owed[64]; // outcomes
    unsigned n_owed;
    int publish_rc;
};

extern struct played_broker b;

// Of the last publication.
void outcome(enum broker_outcome what);

// The last question for letters.
struct played_get {
    broker_get_cb *cb;
    void *arg;
    uint32_t n;
};

extern struct played_get get;

#define NOT_YET     0
#define ACK         (1 + BROKER_ACK)
#define REQUEUE     (1 + BROKER_REQUEUE)
#define DEAD_LETTER (1 + BROKER_DEAD_LETTER)

extern struct fixture f;
extern struct remote *remote;
extern struct endpoint *db; // acme/db, whose mail comes by a queue; acme/web's comes by the inbox
extern const struct endpoint_cb callbacks;

void announce(void);

// As envd does; with_db: acme/db is still defined.
void restart_with(bool with_db);

void restart(void);
int setup(void **state);
int setup_small(void **state);
int teardown(void **state);
struct broker_text text(const char *s);

// What properties_of() says.
extern const char *from_host;
extern const char *epoch;
extern const char *to;
extern const char *key;
extern const char *sent_kind;

// Of message n of host h2, from acme/far.
struct broker_properties properties_of(unsigned n);

// Message n of host h2, from acme/far, as the variables above say.
void arrives_at(uint64_t consumer, uint64_t handle, unsigned n, bool redelivered);

void arrives(uint64_t handle, unsigned n);
void process_one(void);
bool header_is(const char *name, const char *value);
void assert_wanted(const char *what);

#define TEST_SMALL(name) cmocka_unit_test_setup_teardown(name, setup_small, teardown)
