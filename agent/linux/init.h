// What PID 1 of a minimal image does beside being the agent: drivers, file systems, the image's own command.
// Called by main and guest.
#pragma once

#include "common/err.h"
#include "common/loop.h"

struct init; // opaque

// Before anything else: descriptors 0, 1 and 2, and the drivers of the link to the host.
void init_early(void);
// Does the rest step by step from the loop, so that the host hears of us first. at_end runs last, when
// everything is there. NULL without memory.
struct init *init_new(struct loop *loop, void (*at_end)(void *arg), void *arg);
// Does at once whatever is left. init may be NULL: not PID 1.
void init_finish(struct init *init);
void init_free(struct init *init);
