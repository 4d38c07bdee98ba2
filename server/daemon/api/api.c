// Owns the API's life and who is let in. Called by main.
#include "api/api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

int api_new(const struct api_deps *deps, struct api **ret, struct err *err)
{
    struct api *api = calloc(1, sizeof *api);
    if (!api)
        return err_set(err, -ENOMEM, "no memory for the API");
    api->deps = *deps;
    api->idempotency = idempotency_new();
    int rc = api->idempotency ? policies_start(api, err) : err_set(err, -ENOMEM, "no memory for the API");
    if (rc == 0 && operations_start(api) < 0)
        rc = err_set(err, -ENOMEM, "no memory to follow operations");
    if (rc < 0) {
        api_stop(api);
        api_free(api);
        return rc;
    }
    manager_on_log(deps->manager, logs_on_growth, api);
    *ret = api;
    return 0;
}

void api_set_server(struct api *api, struct http_server *server)
{
    api->server = server;
}

void api_stop(struct api *api)
{
    store_watch_close(api->watch_operations);
    store_watch_close(api->watch_policy);
    api->watch_operations = api->watch_policy = NULL;
    events_stop(api);
    stats_stop(api);
    sessions_stop(api);
    api->server = NULL;
}

void api_free(struct api *api)
{
    if (!api)
        return;
    idempotency_free(api->idempotency);
    json_decref(api->broker_dead.items);
    free(api);
}

static bool is_admin(const struct api *api, const struct http_peer *peer)
{
    if (!peer->has_credentials)
        return false;
    for (size_t i = 0; i < api->deps.n_admins; i++)
        if (api->deps.admins[i] == peer->uid)
            return true;
    return peer->uid == 0;
}

void api_admit(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const struct http_peer *peer = http_request_peer(req);
    if (is_admin(api, peer) || strcmp(http_request_path(req), "/livez") == 0)
        return;
    struct refusal why;
    refuse(&why, -EACCES, 403, "not-an-administrator", "uid %u may not use this server", (unsigned)peer->uid);
    refusal_remedy(&why, "Run the command as root, or have envd started with --admin-uid %u",
                   (unsigned)peer->uid);
    reply_refusal(api, req, &why);
}
