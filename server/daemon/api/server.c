// Owns what the server says of itself: liveness, readiness, version and host facts, this API's document.
// Called through routes.c.
#include <string.h>

#include "api/internal.h"

// openapi.yaml, put in by openapi.S.
extern const char api_openapi_start[], api_openapi_end[];

void handle_live(void *arg, struct http_request *req)
{
    reply_count(arg, 200);
    http_reply_bytes(req, 200, "text/plain", "alive\n", 6);
}

void handle_ready(void *arg, struct http_request *req)
{
    if (!request_helper(arg, req))
        return;
    reply_count(arg, 200);
    http_reply_bytes(req, 200, "text/plain", "ready\n", 6);
}

void handle_server(void *arg, struct http_request *req)
{
    struct api *api = arg;
    bool up = manager_helper_up(api->deps.manager);
    const struct priv_facts *facts = manager_facts(api->deps.manager);
    json_t *host = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s}", "privileged_helper", up ? "connected" : "unreachable", "instance",
        facts->instance, "kvm", facts->kvm[0] ? facts->kvm : "unknown", "kvm_detail", facts->kvm_detail,
        "cgroup", facts->cgroup[0] ? facts->cgroup : "unknown", "network", api->deps.network);
    reply_count(api, 200);
    http_reply_json(req, 200,
                    json_pack("{s:s, s:s, s:s, s:s, s:[s,s,s], s:I, s:o}", "kind", "server", "name", "envd",
                              "version", ENVD_VERSION, "api", "v1", "capabilities", "cell", "messages",
                              "events", "revision", (json_int_t)store_revision(api->deps.store), "host",
                              host));
}

void handle_openapi(void *arg, struct http_request *req)
{
    reply_count(arg, 200);
    http_reply_bytes(req, 200, "application/yaml", api_openapi_start,
                     (size_t)(api_openapi_end - api_openapi_start));
}
