// Asking envpriv for a virtual machine: the files, the network, the configuration. Called by run.c only.
#pragma once

#include "env/internal.h"

// Sends NET_UP (where the helper has not yet made the network) and SPAWN for e->vm, and fills in
// e->measurement. 0, or -errno with *ret_reason saying what is wrong and what to do.
int spawn_request(struct env *e, struct reason *ret_reason);
