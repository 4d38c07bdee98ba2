// The services folder: executables that serve messages. Called by main. A child process is their program at
// the agent's socket, started again when it fails.
#pragma once

#include "common/loop.h"

struct services; // opaque

struct services_config {
    const char *folder;
    const char *socket; // of the agent
};

// config outlives it. NULL without memory.
struct services *services_new(struct loop *loop, const struct services_config *config);
// Starts serving, if the folder is there; also after it was not. No effect while it is served.
void services_start(struct services *s);
// Ends it for good.
void services_stop(struct services *s);
void services_free(struct services *s);
