// The command line of envpriv. Called by main.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "names.h"

struct options {
    const char *run;
    const char *envvm;
    uid_t user;
    gid_t group;
    bool has_instance;
    struct instance instance;
    uint32_t uid_base; // 0: the instance's own
    bool debug;
    bool help;
};

extern const char options_usage[];

// The texts stay argv's.
int options_parse(int argc, char **argv, struct options *ret, struct err *err);
