// Owns what the API says of the link to the message broker. Called through routes.c; everything is read from
// the link when asked.
#include <errno.h>

#include "api/internal.h"
#include "remote/remote.h"

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *figures(const struct broker_stats *s)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "published",
                     number(s->published), "confirmed", number(s->confirmed), "returned", number(s->returned),
                     "nacked", number(s->nacked), "forbidden", number(s->forbidden), "unknown",
                     number(s->unknown), "not_sent", number(s->not_sent), "republished",
                     number(s->republished), "waiting", number(s->waiting), "unconfirmed",
                     number(s->unconfirmed), "deliveries", number(s->deliveries), "unsettled",
                     number(s->unsettled), "reconnects", number(s->reconnects));
}

static json_t *status(const struct broker_stats *s)
{
    return json_pack("{s:s, s:o, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o}", "state",
                     broker_state_name(s->state), "since_ms", number(s->since_ms), "why", s->why, "product",
                     s->product, "tls", s->tls, "wanted", number(s->wanted), "missing",
                     number(s->wanted_missing), "differing", number(s->differing), "blocked_ms",
                     number(s->blocked_ms), "messages", figures(s));
}

void handle_broker(void *arg, struct http_request *req)
{
    struct api *api = arg;
    struct remote_stats s;
    json_t *body;
    if (api->deps.remote) {
        remote_get_stats(api->deps.remote, &s);
        body = json_pack("{s:s, s:o}", "kind", "broker", "status", status(&s.broker));
    } else {
        body = json_pack("{s:s, s:{s:s, s:s}}", "kind", "broker", "status", "state", "none", "why",
                         "envd was started without --broker");
    }
    reply_count(api, body ? 200 : 500);
    http_reply_json(req, body ? 200 : 500, body);
}

// --- deliveries that hosts refused ---

static void set_text(json_t *object, const char *name, struct broker_text text)
{
    if (text.len > 0) // what is no UTF-8 is left out
        json_object_set_new(object, name, json_stringn(text.data, text.len));
}

static void add_dead(json_t *items, const struct remote_dead *d)
{
    json_t *item = json_pack("{s:s, s:I}", "state", "dead", "size", (json_int_t)d->body_bytes);
    set_text(item, "id", d->id);
    set_text(item, "from", d->from);
    set_text(item, "user", d->user);
    set_text(item, "to", d->to);
    set_text(item, "subject", d->subject);
    set_text(item, "host", d->host);
    if (d->code.len > 0) {
        json_t *reason = json_object();
        set_text(reason, "code", d->code);
        set_text(reason, "text", d->why);
        json_object_set_new(item, "reason", reason);
    }
    json_array_append_new(items, item);
}

static void on_dead(void *arg, const struct remote_dead *d, const char *why)
{
    struct api *api = arg;
    if (d) {
        add_dead(api->broker_dead.items, d);
        return;
    }
    json_t *items = api->broker_dead.items;
    api->broker_dead.items = NULL;
    struct http_request *req = http_request_find(api->server, api->broker_dead.request);
    if (!req) {
        json_decref(items);
    } else if (why && why[0]) {
        json_decref(items);
        reply_problem(api, req, 503, "broker-unavailable", "look at the broker's dead letters: %s", why);
    } else {
        reply_object(api, req, 200, json_pack("{s:s, s:o}", "kind", "list", "items", items));
    }
}

void handle_broker_dead(void *arg, struct http_request *req)
{
    struct api *api = arg;
    uint64_t limit;
    if (!request_number(api, req, "limit", 1, REMOTE_DEAD_MAX, REMOTE_DEAD_MAX, &limit))
        return;
    if (!api->deps.remote) {
        reply_problem(api, req, 503, "no-broker", "envd was started without --broker");
        return;
    }
    int rc =
        api->broker_dead.items ? -EBUSY : remote_dead_list(api->deps.remote, (uint32_t)limit, on_dead, api);
    if (rc == 0) {
        api->broker_dead.items = json_array();
        api->broker_dead.request = http_request_id(req);
    } else {
        reply_problem(api, req, 503, rc == -EBUSY ? "busy" : "broker-unavailable",
                      rc == -EBUSY ? "somebody else looks at the dead letters now, or did a moment ago"
                                   : "the link to the broker has no room for the question");
    }
}
