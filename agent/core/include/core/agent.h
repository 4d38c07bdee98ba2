// The agent: between the programs of one environment and the host. A state machine over proto/agent.h without
// system calls of its own: the program around it (the cell kernel, envagent) moves the bytes and says what
// happened.
//
// How to drive it. One host link and up to AGENT_CLIENTS_MAX program connections, all byte streams that do
// not block. Every agent_* call below may call the ops, and the ops must not call back. All from one thread
// (or one context).
//
//   - Received bytes go to agent_host_input() or agent_client_input(). They take what they can act upon and
//   return how
//     much that was; keep the rest, and offer it again as soon as *_wants_input() says so. It may turn true
//     during ANY agent_* call, so look at it after each one (an event loop: recompute which descriptors to
//     poll for reading). This is the back-pressure: an agent that cannot pass something on stops taking.
//   - write_host and write_client take what fits and return how much; after a short count, call *_writable()
//   when there
//     is room again. On a broken connection they return 0, and the break is reported with *_down() or
//     *_closed().
//   - One timer: set_timer names the only time at which agent_timer() is wanted; an early or spurious call is
//   harmless.
//
// What the program around it owns: the connections (close_* hands one back: forget its unread bytes, let
// written ones drain), the clocks, and the bound on memory (allocate may say no: input then waits until
// something was freed).
//
// What programs see: HELLO is answered once the host has answered; when the host link is lost they stay
// connected. Messages without receipt are sent again when it is back; when that takes 30 s, or they expire,
// their RECEIPT is unknown-outcome. New ones get RECEIPT host-unreachable. Services and monitors are asked
// for again. What the host then delivers again is not given to programs again: not while one has it, and not
// after one has acknowledged it. A reply goes to the caller without credit, and the agent acknowledges it
// itself (an ACK from the caller is ignored). Everything else goes to a program with
// credit: to the one that registered the service it is addressed to (for which it waits here while others
// have credit), else to each in turn. What a program had not acknowledged when it went away is released to
// the host. What one gives back again and again, and what is for a service that nobody serves, comes again
// ever later.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/agent.h"

#define AGENT_CLIENTS_MAX 64
#define AGENT_SENDS_MAX   256 // sends of all programs that wait for their receipt
#define AGENT_CALLS_MAX   256 // calls of all programs that wait for their reply; more are refused: rate-limited
#define AGENT_DELIVERIES_MAX                                                                                 \
    256 // deliveries of all programs that wait for their ACK; also the largest window
#define AGENT_SERVICES_MAX 32
#define AGENT_MONITORS_MAX 64
#define AGENT_TIMER_OFF    UINT64_MAX

struct agent; // opaque

struct agent_ops {
    // Memory for the agent and its frames (at most a frame each: body_max + 64 KiB). NULL when there is none.
    void *(*allocate)(void *ctx, size_t size_bytes);
    void (*deallocate)(void *ctx, void *p); // never NULL
    // Starts to connect to AGENT_VSOCK_PORT of AGENT_VSOCK_HOST_CID. 0, and later agent_host_up() or
    // agent_host_down(); negative when it failed at once (then neither is called). Not called again before
    // the link is down.
    int (*connect_host)(void *ctx);
    void (*close_host)(void *ctx); // do not report it with agent_host_down()
    size_t (*write_host)(void *ctx, const void *data, size_t n);
    size_t (*write_client)(void *ctx, int client, const void *data, size_t n);
    void (*close_client)(void *ctx, int client); // do not report it; the number may be used again at once
    uint64_t (*monotonic_ns)(void *ctx);
    uint64_t (*realtime_ns)(void *ctx); // since 1970
    void (*random)(void *ctx, void *out, size_t n);
    void (*set_timer)(void *ctx, uint64_t monotonic_ns); // AGENT_TIMER_OFF: none
    // The host wants the environment to end within grace_ms; programs have been told. reason ends with NUL.
    void (*shutdown)(void *ctx, uint32_t grace_ms, const char *reason);
    // One line without newline about something that an operator may want to know; may be NULL.
    void (*log)(void *ctx, const char *text);
    // What this agent can beyond messages: AGENT_CAP_* bits, said in HELLO. Each of the operations below is
    // called only when its bit is set, and answers at once; *ret_detail is for people, constant or the ctx's.
    // A cell has none.
    uint32_t capabilities;
    enum receipt_code (*configure)(void *ctx, const struct agent_configure *c, const char **ret_detail);
    enum receipt_code (*open_session)(void *ctx, const struct id *token, enum agent_session_kind kind,
                                      const char **ret_detail);
    void (*stats)(void *ctx, struct agent_stats *ret);
    void (*set_clock)(void *ctx, uint64_t realtime_ns); // whenever the host says what time it is
};

// A new agent, or NULL without memory. ops and ctx outlive it. software (at most 63 bytes) is what HELLO
// says, copied.
struct agent *agent_new(const struct agent_ops *ops, void *ctx, const char *software);
// Connects to the host; from now on it reconnects by itself (100 ms, doubling to 5 s).
void agent_start(struct agent *a);
// Closes every connection and frees. a may be NULL.
void agent_free(struct agent *a);

void agent_host_up(struct agent *a);
size_t agent_host_input(struct agent *a, const void *untrusted_data, size_t n);
bool agent_host_wants_input(const struct agent *a);
void agent_host_writable(struct agent *a);
void agent_host_down(struct agent *a);

// A program connected; the caller numbers connections 0..AGENT_CLIENTS_MAX-1 and uses a free one. False:
// refused, the number is in use or out of range; close it.
bool agent_client_open(struct agent *a, int client);
size_t agent_client_input(struct agent *a, int client, const void *untrusted_data, size_t n);
bool agent_client_wants_input(const struct agent *a, int client);
void agent_client_writable(struct agent *a, int client);
// The program closed or died.
void agent_client_closed(struct agent *a, int client);

void agent_timer(struct agent *a);
