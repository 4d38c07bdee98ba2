// The environments of this host: from what the store says is wanted to virtual machines, and from what
// happens to them to what the store says is. Called by main and api/. It watches the store: to start an
// environment, change its document (objects.h). One loop's thread; nothing blocks.
#pragma once

#include <event2/event.h>

#include "env/images.h"
#include "env/lifecycle.h"
#include "env/mutate.h"
#include "env/priv_link.h"
#include "net/ipam.h"
#include "route/router.h"
#include "store/store.h"

struct manager;

struct manager_config {
    const char *priv_socket;
    int kernel_fd; // the cell kernel's file, open for reading; the caller.s, who keeps it open
    const char *log_folder;
    const char *state_folder; // for disks and volumes
    struct ipam_pool pool;
    uint32_t log_capacity; // bytes of each environment's log
    uint32_t log_bytes_per_s, log_burst_bytes;
    uint32_t boot_timeout_ms, linux_boot_timeout_ms; // of a cell, of kind linux
    uint32_t restart_min_ms;                         // before the first restart of a row; then twice as long
    uint32_t still_timeout_ms;                       // for envvm to answer that it stands still, or goes on
};

// What the manager works with; all outlive it.
struct manager_deps {
    struct event_base *base;
    struct store *store;
    struct mutator *mutator;
    struct images *images;
    struct router *router;
};

// Loads every environment, tells the router of each, and starts connecting to envpriv. config's strings must
// outlive the manager. Errors: the kernel cannot be read, no memory.
int manager_new(const struct manager_config *config, const struct manager_deps *deps, struct manager **ret,
                struct err *err);
// Before the store is closed: lets go of everything; virtual machines go on running.
void manager_stop(struct manager *m);
void manager_free(struct manager *m); // after the store was closed; accepts NULL

// Ends every virtual machine and calls done once none is left, or after timeout_ms. They start again with the
// next envd.
void manager_stop_all(struct manager *m, uint32_t timeout_ms, void (*done)(void *arg), void *arg);

// For router_ops.describe.
bool manager_describe(struct manager *m, const char *tenant, const char *name, struct router_identity *ret);

// For router_ops.away: until the helper has said what runs, nothing is known.
bool manager_away(const struct manager *m, const char *tenant, const char *name, char *ret_reason,
                  size_t cap);

bool manager_helper_up(const struct manager *m);
// Why the helper cannot be reached; empty while it can.
const char *manager_helper_trouble(const struct manager *m);
const struct priv_facts *manager_facts(const struct manager *m); // as last told; empty strings before
void manager_count(const struct manager *m, size_t ret_by_state[ENV_STATE_COUNT]);
// One listener: called when an environment's log has grown (a hint; also when it ended).
void manager_on_log(struct manager *m, void (*cb)(void *arg, const char *tenant, const char *name),
                    void *arg);
