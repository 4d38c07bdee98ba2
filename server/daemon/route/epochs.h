// What the link remembers across restarts: the lives of other hosts that were heard of (durable_epochs.c).
// Called by remote/; one loop's thread.
#pragma once

#include <stdint.h>

struct router;

// The newest life of a host of which something came by that queue; 0: of none is known.
uint64_t router_epoch(const struct router *r, const char *queue, const char *host);
// Now it is this one. Durable no later than whatever is delivered from now on. -EIO and the like: it cannot
// be kept, and what came must wait.
int router_keep_epoch(struct router *r, const char *queue, const char *host, uint64_t epoch);
// The queue is deleted.
void router_forget_epochs(struct router *r, const char *queue);
