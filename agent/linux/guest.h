// What the host asks of the guest, done: addresses and host name, sessions, figures, the clock, the end.
// Called by hosting through struct hosting_guest.
#pragma once

#include "hosting.h"
#include "init.h"
#include "net.h"
#include "power.h"
#include "session.h"

struct guest {
    struct net *net;
    struct sessions *sessions;
    struct power *power;
    struct init *init; // NULL: not PID 1
    char detail[ERR_TEXT_CAP];
};

// g outlives what is returned, which is all capabilities.
struct hosting_guest guest_operations(struct guest *g);
