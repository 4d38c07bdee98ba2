// Owns what the server says of itself: liveness, readiness, version and host facts, this API's document.
// Called through routes.c.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "remote/remote.h"

// openapi.yaml, put in by openapi.S.
extern const char api_openapi_start[], api_openapi_end[];

void handle_live(void *arg, struct http_request *req)
{
    reply_count(arg, 200);
    http_reply_bytes(req, 200, "text/plain", "alive\n", 6);
}

// A host that can accept no message is not ready. A broker that is away is no such reason: what is on this
// host goes on, and a supervisor that restarts envd for it would only do harm.
static bool expect_journal(struct api *api, struct http_request *req)
{
    struct journal_stats s;
    struct refusal why;
    if (!router_journal_stats(api->deps.router, &s) || s.state == JOURNAL_WRITABLE)
        return true;
    bool full = s.state == JOURNAL_FULL;
    refuse(&why, -ENOSPC, 503, full ? "journal-full" : "journal-failing",
           "no message can be accepted: the journal %s: %s", full ? "is full" : "cannot be written", s.why);
    refusal_remedy(&why, "%s; it heals by itself",
                   full ? "Make room under the state folder, or allow more with --journal-mib-max"
                        : "Look after the disk under the state folder");
    reply_refusal(api, req, &why);
    return false;
}

void handle_ready(void *arg, struct http_request *req)
{
    struct api *api = arg;
    struct remote_stats s;
    const char *broker = "none";
    char text[128];
    if (!request_helper(api, req) || !expect_journal(api, req))
        return;
    if (api->deps.remote) {
        remote_get_stats(api->deps.remote, &s);
        broker = broker_state_name(s.broker.state);
    }
    int n = snprintf(text, sizeof text, "ready\nhelper: connected\njournal: writable\nbroker: %s\n", broker);
    reply_count(api, 200);
    http_reply_bytes(req, 200, "text/plain", text, (size_t)n);
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
