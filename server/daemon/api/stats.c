// Owns the handlers of what environments use. Called through routes.c; monitors and agents are asked by
// env/stats.c, and the reply waits for their answers.
#include "env/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

#define N(value) (json_int_t)(value)

// A request that waits for answers.
struct stats_reader {
    struct stats_reader *next;
    struct api *api;
    uint64_t request;
    struct stats_round *round;
    char tenant[NAME_CAP], name[NAME_CAP]; // empty: all
};

static void reader_free(struct stats_reader *r)
{
    for (struct stats_reader **p = &r->api->stats_readers; *p; p = &(*p)->next) {
        if (*p != r)
            continue;
        *p = r->next;
        break;
    }
    free(r);
}

static json_t *view_messages(const struct router_stats *s)
{
    uint64_t refused = 0;
    for (int i = RECEIPT_ACCEPTED + 1; i < RECEIPT_CODE_COUNT; i++)
        refused += s->refused[i];
    return json_pack("{s:I, s:I, s:I, s:I}", "sent", N(s->accepted), "refused", N(refused), "received",
                     N(s->acked), "queued", N(s->depth));
}

static json_t *view_guest(const struct agent_stats *s)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "memory_total_bytes", N(s->mem_total),
                     "memory_available_bytes", N(s->mem_available), "swap_used_bytes", N(s->swap_used),
                     "disk_total_bytes", N(s->disk_total), "disk_free_bytes", N(s->disk_free), "load1_milli",
                     N(s->load1_milli), "processes", N(s->processes), "uptime_ns", N(s->uptime_ns));
}

static json_t *view_stats(const char *tenant, const char *name, const struct env_stats *s)
{
    const struct vmctl_stats *vm = &s->vm;
    json_t *memory =
        json_pack("{s:I, s:I, s:I, s:I}", "limit_mib", N(s->memory_mib), "rss_bytes", N(vm->rss_bytes),
                  "guest_bytes", N(vm->guest_memory_bytes), "balloon_bytes", N(vm->balloon_bytes));
    json_t *net =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "rx_bytes", N(vm->net_rx_bytes), "rx_packets",
                  N(vm->net_rx_packets), "rx_dropped", N(vm->net_rx_dropped), "tx_bytes", N(vm->net_tx_bytes),
                  "tx_packets", N(vm->net_tx_packets), "tx_dropped", N(vm->net_tx_dropped));
    json_t *disk = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "reads", N(vm->disk_reads), "writes",
                             N(vm->disk_writes), "read_bytes", N(vm->disk_read_bytes), "write_bytes",
                             N(vm->disk_write_bytes), "flushes", N(vm->disk_flushes), "errors",
                             N(vm->disk_errors), "used_bytes", N(s->disk_used_bytes));
    if (vm->disk_last_errno != 0)
        json_object_set_new(disk, "last_error", json_string(strerror((int)vm->disk_last_errno)));
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o}", "kind", "stats", "tenant", tenant, "name",
                  name, "state", env_state_name(s->state), "cpu_ns", N(vm->cpu_ns), "memory", memory, "net",
                  net, "disk", disk, "messages", view_messages(&s->messages));
    if (s->vcpus > 0)
        json_object_set_new(object, "vcpus", json_integer(s->vcpus));
    if (s->taken_ms > 0)
        json_object_set_new(object, "taken", json_integer(N(s->taken_ms)));
    if (s->has_guest)
        json_object_set_new(object, "guest", view_guest(&s->guest));
    return object;
}

static void reply_one(struct api *api, struct http_request *req, const char *tenant, const char *name)
{
    struct env_stats s;
    if (stats_get(api->deps.manager, tenant, name, &s))
        reply_object(api, req, 200, view_stats(tenant, name, &s));
    else
        reply_problem(api, req, 404, "no-such-environment", "there is no environment %s/%s", tenant, name);
}

static void reply_all(struct api *api, struct http_request *req, const char *of_tenant)
{
    const struct store *store = api->deps.store;
    char prefix[DOC_KEY_CAP], tenant[NAME_CAP], name[NAME_CAP];
    json_t *items = json_array();
    snprintf(prefix, sizeof prefix, DOC_ENVIRONMENTS "%s%s", of_tenant, of_tenant[0] ? "/" : "");
    for (const struct store_entry *at = store_next(store, prefix, NULL); at;
         at = store_next(store, prefix, at->key)) {
        struct env_stats s;
        if (doc_key_split(at->key, DOC_ENVIRONMENTS, tenant, name) &&
            stats_get(api->deps.manager, tenant, name, &s))
            json_array_append_new(items, view_stats(tenant, name, &s));
    }
    reply_count(api, 200);
    http_reply_json(req, 200, json_pack("{s:s, s:o}", "kind", "list", "items", items));
}

static void on_answers(void *arg)
{
    struct stats_reader *r = arg;
    struct api *api = r->api;
    struct http_request *req = http_request_find(api->server, r->request);
    if (req) {
        http_request_on_gone(req, NULL, NULL);
        if (r->name[0])
            reply_one(api, req, r->tenant, r->name);
        else
            reply_all(api, req, r->tenant);
    }
    reader_free(r);
}

static void on_gone(void *arg)
{
    struct stats_reader *r = arg;
    stats_cancel(r->round);
    reader_free(r);
}

void stats_stop(struct api *api)
{
    while (api->stats_readers) {
        stats_cancel(api->stats_readers->round);
        reader_free(api->stats_readers);
    }
}

// tenant and name may be NULL: all.
static void read_stats(struct api *api, struct http_request *req, const char *tenant, const char *name)
{
    struct stats_reader *r = calloc(1, sizeof *r);
    if (r)
        r->round = stats_refresh(api->deps.manager, tenant, name, on_answers, r);
    if (!r || !r->round) {
        free(r);
        reply_problem(api, req, 500, "internal", "no memory for the request");
        return;
    }
    r->api = api;
    r->request = http_request_id(req);
    snprintf(r->tenant, sizeof r->tenant, "%s", tenant ? tenant : "");
    snprintf(r->name, sizeof r->name, "%s", name ? name : "");
    r->next = api->stats_readers;
    api->stats_readers = r;
    http_request_on_gone(req, on_gone, r);
}

void handle_stats(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *tenant, *name;
    struct env_stats s;
    if (!request_name(api, req, "tenant", &tenant) || !request_name(api, req, "environment", &name))
        return;
    if (stats_get(api->deps.manager, tenant, name, &s))
        read_stats(api, req, tenant, name);
    else
        reply_one(api, req, tenant, name); // says that there is none
}

void handle_stats_all(void *arg, struct http_request *req)
{
    struct api *api = arg;
    char key[DOC_KEY_CAP];
    const char *tenant = http_request_query(req, "tenant");
    if (tenant && name_valid(tenant, strlen(tenant)))
        doc_key(key, DOC_TENANTS, tenant);
    if (tenant && (!name_valid(tenant, strlen(tenant)) || !store_get(api->deps.store, key)))
        reply_problem(api, req, 404, "no-such-tenant", "there is no tenant %.64s", tenant);
    else
        read_stats(api, req, tenant, NULL);
}
