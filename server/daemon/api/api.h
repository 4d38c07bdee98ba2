// The API: one handler per route of openapi.yaml, on the HTTP server. Called by main, which makes the parts
// and hands them over. One loop's thread.
#pragma once

#include "env/manager.h"
#include "http/server.h"
#include "mediate/mediator.h"

struct api;

// What the API works with; all outlive it.
struct api_deps {
    struct event_base *base;
    struct store *store;
    struct mutator *mutator;
    struct manager *manager;
    struct images *images;
    struct router *router;
    struct mediator *mediator;
    struct remote *remote; // NULL: there is no broker
    const char *host;      // this host's name
    struct ipam_pool pool;
    const char *network; // the pool as text
    const char *log_folder;
    uint64_t image_bytes_max;
    const uid_t *admins; // may use the API besides root
    size_t n_admins;
};

// Puts the stored policy in force and follows it from then on. Errors: the stored policy is not one.
int api_new(const struct api_deps *deps, struct api **ret, struct err *err);
// For struct http_server_config: the routes, with the api as their arg, and who is let in.
const struct http_route *api_routes(size_t *ret_n);
void api_admit(void *arg, struct http_request *req);
// The server that the routes are served by; before it listens.
void api_set_server(struct api *api, struct http_server *server);
// Before the server and the store go: lets go of both.
void api_stop(struct api *api);
void api_free(struct api *api); // after them; accepts NULL
