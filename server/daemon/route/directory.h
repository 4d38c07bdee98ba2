// Who is there: the defined environments of this host and the services that they serve. Used by the router's
// files only; knows no policy and moves no messages.
#pragma once

#include <sys/queue.h>

#include "common/siphash.h"
#include "common/table.h"
#include "route/endpoint.h"
#include "route/mailbox.h"
#include "route/seen.h"

#define RECENT_CHOICES 64 // messages whose server is remembered, per service

struct call;

LIST_HEAD(call_list, call);

struct environment {
    struct table_node node;
    LIST_ENTRY(environment) link;
    uint64_t serial; // never used again: names an environment across asynchronous hops
    char tenant[NAME_CAP];
    char name[NAME_CAP];
    struct mailbox *mailbox;
    struct endpoint *endpoint; // NULL: nothing is attached
    uint64_t rate_bucket;      // mediate/gcra.h
    LIST_HEAD(, serving) serves;
    uint32_t n_serves;
    struct call_list calls_made, calls_served; // calls.h
    uint32_t n_calls_made;
    uint32_t n_calls_far;      // that were made elsewhere and are to be answered
    bool announced;            // other hosts know of it, and its mail comes
    bool queue;                // by a queue of its own
    struct seen *replies_sent; // made with the first reply
    struct router_stats stats;
    struct trace *trace; // the router's, for who watches the mailbox
};

// An environment serves a service.
struct serving {
    TAILQ_ENTRY(serving) in_service;
    LIST_ENTRY(serving) in_environment;
    struct service *service;
    struct environment *environment;
};

struct service {
    struct table_node node;
    char tenant[NAME_CAP];
    char name[NAME_CAP];
    TAILQ_HEAD(, serving) servers; // the next in turn first
    uint32_t n_servers;
    // A message that is sent again goes to the server that it went to before, which then finds the duplicate.
    struct {
        uint64_t dedup_key;
        uint64_t serial;
    } recent[RECENT_CHOICES];
    uint32_t recent_at;
};

struct directory {
    struct siphash_key key;
    struct table environments, services;
    LIST_HEAD(, environment) all;
    uint64_t serials;
    // A service began to be served, or no longer is. May be NULL.
    void (*on_service)(void *arg, const char *tenant, const char *service, bool served);
    void *arg;
};

int directory_init(struct directory *d); // 0 or -ENOMEM
// Frees every environment, its mailbox included.
void directory_done(struct directory *d);

struct environment *directory_find(const struct directory *d, const char *tenant, const char *name);
// Takes over the mailbox on success. NULL: no memory. The name must be new and valid.
struct environment *directory_add(struct directory *d, const char *tenant, const char *name,
                                  struct mailbox *mailbox);
// Takes it and its services out: nobody finds it any more.
void directory_remove(struct directory *d, struct environment *e);
// Closes the mailbox of what was taken out, and frees it; forget: for good. Its calls must be gone.
void environment_free(struct environment *e, bool forget);

struct service *directory_find_service(const struct directory *d, const char *tenant, const char *name);
// 0 (also when it was registered before), -EDQUOT (ROUTER_SERVICES_MAX) or -ENOMEM.
int directory_serve(struct directory *d, struct environment *e, const char *service);
// -ENOENT.
int directory_unserve(struct directory *d, struct environment *e, const char *service);
void directory_unserve_all(struct directory *d, struct environment *e);

// The server that a message of that key went to before, if it still serves, or NULL.
struct serving *service_recall(const struct service *s, uint64_t dedup_key);
// Remembers the choice and makes that server the last in turn.
void service_chose(struct serving *v, uint64_t dedup_key);
