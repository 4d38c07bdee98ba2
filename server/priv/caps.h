// Capabilities: what envpriv keeps of root's, and how a child loses all. Called by main.c and jail.c.
#pragma once

#include "common/err.h"

// Drops from this process, for ever, every capability that is not in the list of kept ones (caps.c).
int caps_keep_needed(struct err *err);
// Before the last clean-up: makes effective what was kept for it.
void caps_wake_for_the_end(void);
// Drops the kept ones from the bounding set too: for the child, still root. 0 or -errno.
int caps_drop_bounding(void);
// Empties all sets of a process that has changed its user. 0 or -errno.
int caps_clear(void);
