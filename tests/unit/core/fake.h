// A host and programs in memory, around a real agent: what it writes is kept until a test reads it frame by
// frame; what tests say goes in as bytes, and what the agent does not take is kept and offered again when it
// wants it.
#pragma once

#include "testing.h"

#include "core/agent.h"
#include "proto/agent.h"

#define FAKE_HOST (-1)
#define MS        1000000ull

struct pipe {
    uint8_t *data;
    size_t len, done, cap;
};

struct fake_conn {
    struct pipe said;  // to the agent, not yet taken
    struct pipe heard; // from the agent, not yet read by the test
    size_t room;       // bytes that the agent may still write
    bool closed;       // by the agent
    uint8_t *frame;    // what the last expect() decoded
};

struct fake {
    struct agent *agent;
    struct fake_conn host;
    struct fake_conn clients[AGENT_CLIENTS_MAX];
    int n_connects, connect_result;
    uint64_t now_ns, timer_ns;
    uint32_t shutdown_grace_ms;
    char shutdown_reason[512];
    char last_log[256];
    uint64_t clock_ns; // what set_clock was told last
    struct agent_configure configured;
    struct id opened;
    enum agent_session_kind opened_kind;
    uint32_t host_can;            // AGENT_CAN_* that HELLO_OK says; 0 unless a test says more
    size_t allocated, memory_max; // blocks
    int n_fail;                   // so many allocations fail first
    void *blocks[4096];           // to find leaks and frees of what was never given
};

// A new agent, not started. Clock: 1,000 s since boot, 2023 on the wall.
struct fake *fake_new(void);
// The same with every capability.
struct fake *fake_new_able(void);
void fake_free(struct fake *f);
// Starts it and plays the host's HELLO_OK: "acme/web", body_max 1 MiB.
void fake_link_up(struct fake *f);
// A program that has said HELLO and got HELLO_OK. The credit, if any, has been passed on and read.
void fake_program(struct fake *f, int client, uint32_t credit);

// Says a frame, or bytes, to the agent: as the host or as a program.
void fake_say(struct fake *f, int who, const struct agent_frame *frame);
void fake_say_bytes(struct fake *f, int who, const void *data, size_t n);
// Offers again what was left. Called by fake_say too.
void fake_offer(struct fake *f);
// The next frame that `who` got, which must be of that type. Views live until the next call for the same
// `who`.
struct agent_frame fake_expect(struct fake *f, int who, enum agent_frame_type type);
void fake_expect_nothing(struct fake *f, int who);
// Lets the time pass; the timer fires when it is due.
void fake_pass(struct fake *f, uint64_t ms);
// Connection lost (host) or program gone.
void fake_hang_up(struct fake *f, int who);
// The agent may write n more bytes to `who`.
void fake_give_room(struct fake *f, int who, size_t n);

struct wire_view fake_view(const char *s);
struct id fake_id(uint8_t n);
// A message: from and subject are filled.
struct agent_frame fake_message(enum agent_frame_type type, enum message_kind kind, uint8_t id,
                                const char *to);
