// Moves the bytes of agent/core: the link to the host and the programs' connections to the agent's socket.
// Called by main; knows neither what the frames mean nor what guest.c does for the host.
#pragma once

#include "common/err.h"
#include "common/loop.h"
#include "core/agent.h"
#include "transport.h"

struct hosting; // opaque

// What the surroundings do: what agent/core's operations of the same names say.
struct hosting_guest {
    void *ctx;
    uint32_t capabilities;
    enum receipt_code (*configure)(void *ctx, const struct agent_configure *c, const char **ret_detail);
    enum receipt_code (*open_session)(void *ctx, const struct id *token, enum agent_session_kind kind,
                                      const char **ret_detail);
    void (*stats)(void *ctx, struct agent_stats *ret);
    void (*set_clock)(void *ctx, uint64_t realtime_ns);
    void (*shutdown)(void *ctx, uint32_t grace_ms, const char *reason);
};

// guest and transport outlive it. 0, or -ENOMEM.
int hosting_new(struct loop *loop, const struct transport *transport, const struct hosting_guest *guest,
                struct hosting **ret, struct err *err);
// Begins to connect to the host.
void hosting_start(struct hosting *h);
// Makes the socket for programs at path (and its folder), replacing a left-over one.
int hosting_listen(struct hosting *h, const char *path, struct err *err);
// How many programs are connected.
unsigned hosting_count_programs(const struct hosting *h);
void hosting_free(struct hosting *h);
