// What start, stop, restart, pause, resume and delete share: one request that answers with an operation, for
// each environment named.
#pragma once

#include "cli.h"

struct lifecycle {
    const char *verb, *done, *going; // "start", "started", "starting"
    const char *method, *suffix;
    int grace_ms; // -1: none
};

// Does it for every address; the first failure is the result, but all are tried.
int lifecycle_run(struct cli *cli, const struct lifecycle *l, char **addresses, int n);
