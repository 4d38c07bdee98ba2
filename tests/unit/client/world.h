// An agent on real sockets in a process of its own, linked to a host that loops messages back into the same
// environment
// ("acme/web"). What the host does depends on the message:
//
//   to "nobody", or to a service that nobody registered    receipt no-such-environment
//   to "forbidden"                                          receipt denied, "rule 3"
//   to "silent"                                             accepted, never delivered
//   subject "host.vanish"                                   the link breaks, no receipt
//   subject "host.gone"                                     accepted, then GONE of the receiver: unknown with
//   a priority subject "host.shutdown"                                 accepted, then SHUTDOWN anything else
//   accepted and delivered here
//
// REGISTER "taken" and MONITOR "forbidden" are denied; MONITOR "away" is told at once.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct world;

// Starts it and points ENV_AGENT_SOCKET at it.
struct world *world_start(void);
// Ends it; fails the test when the agent's process did not end cleanly (leaks included).
void world_stop(struct world *w);

// The host's side of the link; used in the agent's process only.
struct loop_host;

struct loop_host *loop_host_new(void);
void loop_host_free(struct loop_host *h);
// A link begins or ends: what was not acknowledged waits again.
void loop_host_reset(struct loop_host *h);
// Bytes from the agent. False: the link is to be broken.
bool loop_host_input(struct loop_host *h, const void *data, size_t n);
// Bytes for the agent.
const uint8_t *loop_host_output(const struct loop_host *h, size_t *ret_len);
void loop_host_written(struct loop_host *h, size_t n);
