// The guest's NIC: address, default route, MTU by rtnetlink(7), as the host says. Called by guest and init.
#pragma once

#include "common/err.h"
#include "common/loop.h"
#include "proto/agent.h"

struct net; // opaque

// NULL without memory.
struct net *net_new(struct loop *loop);
void net_free(struct net *n);
// Sets the NIC up whose MAC is c's, now or as soon as it is there; asked again, it replaces what it had set.
// 0, 1 when the NIC is awaited, or -errno.
int net_configure(struct net *n, const struct agent_configure *c, struct err *err);
// Brings the loopback interface up.
int net_loopback_up(struct err *err);
