// Giving up root. Called by main, once, before anything from outside is read.
#pragma once

#include "common/err.h"
#include "config.h"

// Started as root: becomes the configured user for good (refuses when there is none). Otherwise nothing, but
// for no_new_privs, which both get. 0 or -errno.
int privilege_drop(const struct config *c, struct err *err);
