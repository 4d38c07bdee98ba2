// Kernel modules, loaded without tools: finit_module(2) in the order that modules.dep says. Called by init.
//
// A small initrd may have a list instead: /modules/order, one path a line, every module after what it needs.
// Then all modules before the one that is asked for are loaded, but those that were said to be for later.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

#define MODULES_DEPENDENCIES_MAX 32

struct modules {
    char folder[256]; // "/lib/modules/6.1.0-18-cloud-amd64"
    char *dep;        // modules.dep; NULL: there are none, so whatever is needed is built in
    char *order;      // /modules/order, NULL: there is none
};

// root: "" for this system.
void modules_init(struct modules *m, const char *root);
void modules_done(struct modules *m);
// Loads a module and what it needs. One that modules.dep does not know is taken to be built in. 0 or -errno.
int modules_load(const struct modules *m, const char *name, struct err *err);
// Loads all that the list has, and that is not loaded yet. 0 or the last -errno.
int modules_load_rest(const struct modules *m, struct err *err);
// For tests: true when the path is that of the module: NN-name.ko, name.ko.xz, with - or _.
bool modules_match(const char *path, size_t len, const char *name);
// For tests: the paths to load, in order, of a module, cut out of dep. How many, 0 when it is not there.
size_t modules_find(const char *dep, const char *name, char paths[MODULES_DEPENDENCIES_MAX][256]);
