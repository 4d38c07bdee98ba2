// Agents that a test plays on real socket pairs: what tests of sessions write and read as one. Called by
// session_*_test.c.
#pragma once

#include "fixture.h"

#include "proto/agent.h"
#include "route/session.h"

extern struct fixture f;
extern struct session_config config;

// An agent: its end of the connection, what it has read, and what the host's callbacks said of it.
struct agent {
    const char *tenant, *name;
    struct session *session;
    int fd;
    uint8_t *in;
    size_t in_len, used; // used: the frame that was read last
    bool ready, closed, close_when_ready, reopen_when_closed;
    char reason[256], software[64];
};

extern struct agent web, db;
extern const struct session_cb callbacks;

// Connects a as tenant/name, without a word yet; close_agent() ends it, from either side.
void open_agent(struct agent *a, const char *tenant, const char *name);

void close_agent(struct agent *a);

// A router and sessions with that configuration, or their own; what setup() does with NULL.
void start(const struct router_config *router_config);

int setup(void **state);
int teardown(void **state);

// What the journal is asked for in a turn is done in it.
void turn(void);

// Gives the host turns while its socket is full; ends when the host has closed.
void write_all(struct agent *a, const void *data, size_t len);

size_t encode(const struct agent_frame *frame, uint8_t *out, size_t cap);
void write_frame(struct agent *a, const struct agent_frame *frame);

// Reads the next frame; its views hold until the next one is read. False after about a second, or at the end.
bool read_frame(struct agent *a, struct agent_frame *ret);

// The next frame, which must be of this type; its views hold until the next one is read.
struct agent_frame expect(struct agent *a, enum agent_frame_type type);

bool nothing_comes(struct agent *a);

// The host ends the session within about a second, with a reason that mentions this.
void assert_closed(struct agent *a, const char *mentions);

extern const struct agent_frame hello;

// HELLO and its answer.
void greet(struct agent *a);

void connect_agent(struct agent *a, const char *tenant, const char *name);
void connect_both(void);
struct agent_frame message_frame(unsigned n, const char *to, enum message_kind kind);
void send_to(struct agent *a, unsigned n, const char *to, enum message_kind kind);
void assert_receipt(struct agent *a, unsigned tag, enum receipt_code code);
void give_credit(struct agent *a, uint32_t n);

struct answer {
    int n, rc;
    char detail[64];
    struct agent_stats stats;
};
