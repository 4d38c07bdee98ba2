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
#define MS        1000000ull

struct peer {
    bool connected;
    size_t room;            // bytes that the agent may write
    uint8_t said[SAID_CAP]; // for the agent, not taken yet
    size_t said_len;
    uint8_t *heard; // the frame that the agent is writing
    size_t heard_len;
};

struct harness {
    struct agent *agent;
    struct peer host, programs[PROGRAMS];
    bool polite_host;     // answers whatever the agent asks
    bool polite_programs; // acknowledge what they get
    bool connect_wanted;
    int n_blocks, blocks_max;
    uint64_t now_ns, timer_ns;
};

void harness_init(struct harness *h);
// Frees the agent and checks that it gave everything back.
void harness_done(struct harness *h);
void harness_link_up(struct harness *h);              // with HELLO_OK
void harness_program(struct harness *h, int program); // with HELLO
void harness_hang_up(struct harness *h, int who);
// Puts bytes, or a frame, at the end of what `who` says; false when they do not fit.
bool harness_say_bytes(struct harness *h, int who, const void *data, size_t n);
void harness_say(struct harness *h, int who, const struct agent_frame *f);
// Offers what was said until the agent takes no more.
void harness_pump(struct harness *h);
void harness_pass(struct harness *h, uint64_t ms);
// A message for `to` with an id that ends in n.
struct agent_frame harness_message(enum agent_frame_type type, enum message_kind kind, const char *to,
                                   uint8_t n);
