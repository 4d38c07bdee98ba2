// Owns the operators' view of mailboxes: figures, the headers of what is in them, purging, replaying dead
// letters. Called through routes.c. Shows no bodies: they are the tenants'.
#include "route/mailbox.h"

#include <inttypes.h>
#include <string.h>

#include "api/internal.h"
#include "common/checked.h"
#include "common/io.h"
#include "remote/remote.h"
#include "route/remote.h"

#define POSITION_MAX (1u << 20)

struct whose {
    const char *tenant, *name;
};

static void reply_nobody(struct api *api, struct http_request *req, const struct whose *w)
{
    reply_problem(api, req, 404, "no-such-environment", "there is no environment %s/%s", w->tenant, w->name);
}

static bool take_name(struct api *api, struct http_request *req, struct whose *ret)
{
    return request_name(api, req, "tenant", &ret->tenant) &&
           request_name(api, req, "environment", &ret->name);
}

// --- figures ---

static void find_oldest(void *arg, const struct mailbox_item *item)
{
    uint64_t *oldest_ms = arg;
    if (item->arrived_ms != 0 && (*oldest_ms == 0 || item->arrived_ms < *oldest_ms))
        *oldest_ms = item->arrived_ms;
}

static json_t *figures(const struct api *api, const struct whose *w, const struct mailbox_stats *s)
{
    const struct router *r = api->deps.router;
    uint64_t oldest_ms = 0, now_ms = io_realtime_ms();
    struct router_stats use = {0};
    router_environment_stats(r, w->tenant, w->name, &use);
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "kind", "mailbox", "tenant", w->tenant,
        "name", w->name, "class", router_mailbox_is_queue(r, w->tenant, w->name) ? "queue" : "host",
        "messages", (json_int_t)s->messages, "bytes", (json_int_t)s->bytes, "out", (json_int_t)s->out, "dead",
        (json_int_t)s->dead, "dead_dropped", (json_int_t)s->dead_dropped, "expired", (json_int_t)s->expired,
        "strays", (json_int_t)use.strays);
    router_mailbox_list(r, w->tenant, w->name, false, SIZE_MAX, find_oldest, &oldest_ms);
    if (oldest_ms != 0)
        json_object_set_new(object, "oldest_ms",
                            json_integer((json_int_t)(now_ms > oldest_ms ? now_ms - oldest_ms : 0)));
    return object;
}

// What the broker knows comes beside the figures; without it they say why.
static void on_counted(void *arg, uint64_t request, uint32_t messages, const char *why)
{
    struct api *api = arg;
    struct whose w;
    struct mailbox_stats s;
    struct http_request *req = http_request_find(api->server, request);
    if (!req || !take_name(api, req, &w))
        return;
    if (router_mailbox_stats(api->deps.router, w.tenant, w.name, &s) < 0) {
        reply_nobody(api, req, &w);
        return;
    }
    json_t *object = figures(api, &w, &s);
    if (why)
        json_object_set_new(object, "at_broker_unknown", json_string(why));
    else
        json_object_set_new(object, "at_broker", json_integer(messages));
    reply_object(api, req, 200, object);
}

void handle_mailbox(void *arg, struct http_request *req)
{
    struct api *api = arg;
    struct whose w;
    struct mailbox_stats s;
    if (!take_name(api, req, &w))
        return;
    if (router_mailbox_stats(api->deps.router, w.tenant, w.name, &s) < 0)
        reply_nobody(api, req, &w);
    else if (!api->deps.remote || !router_mailbox_is_queue(api->deps.router, w.tenant, w.name))
        reply_object(api, req, 200, figures(api, &w, &s));
    else if (remote_queue_count(api->deps.remote, w.tenant, w.name, on_counted, api, http_request_id(req)) <
             0)
        on_counted(api, http_request_id(req), 0, "the link to the broker has no room for the question");
}

// --- messages ---

static const struct {
    const char *code, *text;
} reasons[] = {
    [MAILBOX_RELEASED_TOO_OFTEN] = {"released-too-often",
                                    "its receiver gave it back, unprocessed, too often"},
    [MAILBOX_RECEIVER_DIED] =
        {"receiver-died",
         "its receiver, or the connection to it, ended too often while it had the message in hand"},
};

struct page {
    json_t *items;
    uint64_t at, position, limit; // where we are, the first wanted, how many
    bool dead, more;
};

static json_t *text_of(struct wire_view v)
{
    return json_stringn((const char *)v.data, v.len);
}

static void add_death(json_t *object, const struct mailbox_item *item)
{
    json_object_set_new(object, "since", json_integer((json_int_t)item->since_ms));
    if ((size_t)item->reason < ARRAY_LEN(reasons) && reasons[item->reason].code)
        json_object_set_new(
            object, "reason",
            json_pack("{s:s, s:s}", "code", reasons[item->reason].code, "text", reasons[item->reason].text));
}

static json_t *headers_of(const struct mailbox_item *item, bool dead)
{
    struct envelope e;
    char id[ID_TEXT_CAP];
    if (!message_envelope(item->message, &e))
        return NULL;
    id_format(&e.id, id);
    json_t *object = json_pack("{s:s, s:o, s:o, s:o, s:s, s:i, s:I, s:I, s:s}", "id", id, "from",
                               text_of(e.from), "to", text_of(e.to), "subject", text_of(e.subject), "kind",
                               message_kind_name(e.kind), "priority", (int)e.priority, "size",
                               (json_int_t)e.body.len, "releases", (json_int_t)item->attempts, "state",
                               dead        ? "dead"
                               : item->out ? "out"
                                           : "queued");
    if (item->arrived_ms != 0)
        json_object_set_new(object, "arrived", json_integer((json_int_t)item->arrived_ms));
    if (e.expires_ms != 0)
        json_object_set_new(object, "expires", json_integer((json_int_t)e.expires_ms));
    if (dead)
        add_death(object, item);
    return object;
}

static void on_item(void *arg, const struct mailbox_item *item)
{
    struct page *p = arg;
    uint64_t at = p->at++;
    if (at >= p->position + p->limit)
        p->more = true;
    else if (at >= p->position)
        json_array_append_new(p->items, headers_of(item, p->dead));
}

static void reply_page(struct api *api, struct http_request *req, const struct page *p)
{
    json_t *list = json_pack("{s:s, s:o}", "kind", "list", "items", p->items);
    uint64_t next = p->position + p->limit;
    if (p->more)
        json_object_set_new(list, "cursor", json_sprintf("%" PRIu64, next));
    reply_object(api, req, 200, list);
}

void handle_mailbox_messages(void *arg, struct http_request *req)
{
    struct api *api = arg;
    struct whose w;
    struct page p = {0};
    if (!take_name(api, req, &w) || !request_flag(api, req, "dead", &p.dead) ||
        !request_number(api, req, "limit", 1, 1000, API_LIST_LIMIT, &p.limit) ||
        !request_number(api, req, "cursor", 0, POSITION_MAX, 0, &p.position))
        return;
    p.items = json_array();
    if (router_mailbox_list(api->deps.router, w.tenant, w.name, p.dead, p.position + p.limit + 1, on_item,
                            &p) == 0) {
        reply_page(api, req, &p);
        return;
    }
    json_decref(p.items);
    reply_nobody(api, req, &w);
}

// --- purging and replaying ---

static void reply_done(struct api *api, struct http_request *req, const char *what, size_t n)
{
    reply_object(api, req, 200, json_pack("{s:s, s:I}", "kind", what, "messages", (json_int_t)n));
}

void handle_mailbox_purge(void *arg, struct http_request *req)
{
    struct api *api = arg;
    struct whose w;
    bool dead;
    size_t n;
    if (!take_name(api, req, &w) || !request_flag(api, req, "dead", &dead))
        return;
    if (router_mailbox_purge(api->deps.router, w.tenant, w.name, dead, NULL, &n) < 0)
        reply_nobody(api, req, &w);
    else
        reply_done(api, req, "purged", n);
}

void handle_mailbox_replay(void *arg, struct http_request *req)
{
    struct api *api = arg;
    struct whose w;
    const char *text = http_request_param(req, "message");
    struct id id;
    size_t n = 0;
    if (!take_name(api, req, &w))
        return;
    bool known = !text || id_parse(text, strlen(text), &id);
    if (known && router_mailbox_replay(api->deps.router, w.tenant, w.name, text ? &id : NULL, &n) < 0)
        reply_nobody(api, req, &w);
    else if (text && n == 0)
        reply_problem(api, req, 404, "no-such-message", "%s/%s has no dead letter %.64s", w.tenant, w.name,
                      text);
    else
        reply_done(api, req, "replayed", n);
}
