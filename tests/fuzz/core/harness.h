// An agent between a host and programs that a fuzz target speaks for. Everything that the agent writes is
// parsed at once: a frame that does not decode, or that its receiver may not get, aborts; so does memory that
// is not given back.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/agent.h"
#include "proto/agent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOST      (-1)
#define PROGRAMS  4
#define SAID_CAP  (64u << 10)
#define HEARD_CAP (AGENT_HEADER_LEN + AGENT_FRAME_MAX)
#define ASKED_MAX 16u
#define MS        1000000ull

#define EVERY_CAPABILITY (AGENT_CAP_SESSION | AGENT_CAP_CONFIGURE | AGENT_CAP_STATS | AGENT_CAP_CLOCK)

struct peer {
    bool connected;
    size_t room;            // bytes that the agent may write
    uint8_t said[SAID_CAP]; // for the agent, not taken yet
    size_t said_len;
    uint8_t *heard; // the frame that the agent is writing
    size_t heard_len;
};

// What the agent asked of the host.
struct asked {
    enum agent_frame_type type; // 0: nothing yet
    uint32_t tag;
    struct id id; // of a SEND
};

struct harness {
    struct agent_ops ops;
    struct agent *agent;
    struct peer host, programs[PROGRAMS];
    bool polite_host;     // answers whatever the agent asks
    bool polite_programs; // acknowledge what they get
    bool connect_wanted;
    struct asked asked[ASKED_MAX]; // a ring, the latest at n_asked - 1
    size_t n_asked;
    unsigned n_deliveries;            // that the polite host made for credit
    int owed[AGENT_FRAME_TYPE_COUNT]; // answers of the guest itself that the host has not read yet
    int n_blocks, blocks_max;
    uint64_t now_ns, timer_ns;
};

// The agent can what capabilities say (AGENT_CAP_*).
void harness_init(struct harness *h, uint32_t capabilities);
// Frees the agent and checks that it gave everything back.
void harness_done(struct harness *h);
// The link that the agent asked for is there, and the host answers its HELLO with greeting.
void harness_greet(struct harness *h, const struct agent_frame *greeting);
struct agent_frame harness_hello_ok(void);
void harness_link_up(struct harness *h);              // with harness_hello_ok()
void harness_program(struct harness *h, int program); // with HELLO
void harness_hang_up(struct harness *h, int who);
// Puts bytes, or a frame, at the end of what `who` says; false when they do not fit.
bool harness_say_bytes(struct harness *h, int who, const void *data, size_t n);
void harness_say(struct harness *h, int who, const struct agent_frame *f);
// What the agent asked `ago` questions before the latest.
const struct asked *harness_asked(const struct harness *h, size_t ago);
// The host answers what it was asked `ago` questions before, perhaps not for the first time.
void harness_answer(struct harness *h, size_t ago, enum receipt_code code);
// Offers what was said until the agent takes no more.
void harness_pump(struct harness *h);
void harness_pass(struct harness *h, uint64_t ms);
// A message for `to` with an id that ends in n.
struct agent_frame harness_message(enum agent_frame_type type, enum message_kind kind, const char *to,
                                   uint8_t n);
