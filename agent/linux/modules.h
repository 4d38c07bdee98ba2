// Kernel modules, loaded without tools: finit_module(2) in the order that modules.dep says. Called by init.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

#define MODULES_DEPENDENCIES_MAX 32

struct modules {
    char folder[256]; // "/lib/modules/6.1.0-18-cloud-amd64"
    char *dep;        // modules.dep; NULL: there are none, so whatever is needed is built in
};

// root: "" for this system.
void modules_init(struct modules *m, const char *root);
void modules_done(struct modules *m);
// Loads a module and what it needs. One that modules.dep does not know is taken to be built in. 0 or -errno.
int modules_load(const struct modules *m, const char *name, struct err *err);
// For tests: the paths to load, in order, of a module, cut out of dep. How many, 0 when it is not there.
size_t modules_find(const char *dep, const char *name, char paths[MODULES_DEPENDENCIES_MAX][256]);
