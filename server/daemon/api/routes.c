// Owns the route table: openapi.yaml's paths and the handler of each. Called by main through api.h.
#include "api/internal.h"
#include "common/checked.h"

#define E     "/v1/tenants/{tenant}/environments/{environment}"
#define SMALL (64u << 10)
#define LARGE (4u << 20)

static const struct http_route routes[] = {
    {"GET", "/livez", HTTP_BODY_NONE, 0, handle_live},
    {"GET", "/readyz", HTTP_BODY_NONE, 0, handle_ready},
    {"GET", "/metrics", HTTP_BODY_NONE, 0, handle_metrics},
    {"GET", "/v1", HTTP_BODY_NONE, 0, handle_server},
    {"GET", "/v1/openapi.yaml", HTTP_BODY_NONE, 0, handle_openapi},
    {"GET", "/v1/broker", HTTP_BODY_NONE, 0, handle_broker},
    {"GET", "/v1/broker/dead", HTTP_BODY_NONE, 0, handle_broker_dead},
    {"DELETE", "/v1/broker/dead", HTTP_BODY_NONE, 0, handle_broker_dead_purge},
    {"POST", "/v1/broker/dead/replay", HTTP_BODY_COLLECT, SMALL, handle_broker_dead_replay},
    {"GET", "/v1/broker/dead/{letter}", HTTP_BODY_NONE, 0, handle_broker_dead_show},
    {"DELETE", "/v1/broker/dead/{letter}", HTTP_BODY_NONE, 0, handle_broker_dead_purge},
    {"POST", "/v1/broker/dead/{letter}/replay", HTTP_BODY_COLLECT, SMALL, handle_broker_dead_replay},

    {"GET", "/v1/tenants", HTTP_BODY_NONE, 0, handle_tenants_list},
    {"POST", "/v1/tenants", HTTP_BODY_COLLECT, SMALL, handle_tenant_create},
    {"GET", "/v1/tenants/{tenant}", HTTP_BODY_NONE, 0, handle_tenant_get},
    {"PATCH", "/v1/tenants/{tenant}", HTTP_BODY_COLLECT, SMALL, handle_tenant_change},
    {"DELETE", "/v1/tenants/{tenant}", HTTP_BODY_NONE, 0, handle_tenant_delete},

    {"GET", "/v1/environments", HTTP_BODY_NONE, 0, handle_environments_all},
    {"GET", "/v1/tenants/{tenant}/environments", HTTP_BODY_NONE, 0, handle_environments_list},
    {"POST", "/v1/tenants/{tenant}/environments", HTTP_BODY_COLLECT, API_BODY_MAX, handle_environment_create},
    {"GET", E, HTTP_BODY_NONE, 0, handle_environment_get},
    {"PATCH", E, HTTP_BODY_COLLECT, API_BODY_MAX, handle_environment_change},
    {"DELETE", E, HTTP_BODY_NONE, 0, handle_environment_delete},
    {"POST", E "/start", HTTP_BODY_COLLECT, SMALL, handle_environment_start},
    {"POST", E "/stop", HTTP_BODY_COLLECT, SMALL, handle_environment_stop},
    {"POST", E "/restart", HTTP_BODY_COLLECT, SMALL, handle_environment_restart},
    {"POST", E "/pause", HTTP_BODY_COLLECT, SMALL, handle_environment_pause},
    {"POST", E "/resume", HTTP_BODY_COLLECT, SMALL, handle_environment_resume},
    {"GET", E "/stats", HTTP_BODY_NONE, 0, handle_stats},
    {"GET", "/v1/stats", HTTP_BODY_NONE, 0, handle_stats_all},
    {"GET", E "/mailbox", HTTP_BODY_NONE, 0, handle_mailbox},
    {"GET", E "/mailbox/messages", HTTP_BODY_NONE, 0, handle_mailbox_messages},
    {"DELETE", E "/mailbox/messages", HTTP_BODY_NONE, 0, handle_mailbox_purge},
    {"POST", E "/mailbox/dead/replay", HTTP_BODY_COLLECT, SMALL, handle_mailbox_replay},
    {"POST", E "/mailbox/dead/{message}/replay", HTTP_BODY_COLLECT, SMALL, handle_mailbox_replay},
    {"GET", E "/logs", HTTP_BODY_NONE, 0, handle_logs},
    {"POST", E "/exec", HTTP_BODY_COLLECT, API_BODY_MAX, handle_exec},
    {"POST", E "/copy", HTTP_BODY_COLLECT, SMALL, handle_copy},
    {"POST", E "/console", HTTP_BODY_NONE, 0, handle_console},

    {"GET", "/v1/images", HTTP_BODY_NONE, 0, handle_images_list},
    {"GET", "/v1/images/{image}", HTTP_BODY_NONE, 0, handle_image_get},
    // The limit of an image is the handler's, which knows the configuration.
    {"PUT", "/v1/images/{image}", HTTP_BODY_STREAM, UINT64_MAX, handle_image_put},
    {"DELETE", "/v1/images/{image}", HTTP_BODY_NONE, 0, handle_image_delete},
    {"GET", "/v1/images/{image}/content", HTTP_BODY_NONE, 0, handle_image_content},
    {"POST", "/v1/images/gc", HTTP_BODY_COLLECT, SMALL, handle_images_collect},

    {"POST", "/v1/messages", HTTP_BODY_COLLECT, LARGE, handle_message},
    {"GET", "/v1/messages/{message}/trace", HTTP_BODY_NONE, 0, handle_message_trace},
    {"GET", "/v1/policies/main", HTTP_BODY_NONE, 0, handle_policy_get},
    {"PUT", "/v1/policies/main", HTTP_BODY_COLLECT, LARGE, handle_policy_put},
    {"GET", "/v1/policies/main/versions", HTTP_BODY_NONE, 0, handle_policy_versions},
    {"POST", "/v1/explain", HTTP_BODY_COLLECT, SMALL, handle_explain_request},
    {"GET", "/v1/explain/{message}", HTTP_BODY_NONE, 0, handle_explain_message},

    {"GET", "/v1/operations", HTTP_BODY_NONE, 0, handle_operations_list},
    {"GET", "/v1/operations/{operation}", HTTP_BODY_NONE, 0, handle_operation_get},
    {"DELETE", "/v1/operations/{operation}", HTTP_BODY_NONE, 0, handle_operation_cancel},
    {"GET", "/v1/events", HTTP_BODY_NONE, 0, handle_events},
};

const struct http_route *api_routes(size_t *ret_n)
{
    *ret_n = ARRAY_LEN(routes);
    return routes;
}
