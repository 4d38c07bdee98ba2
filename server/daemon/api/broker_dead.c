// Owns the operators' view of the broker's dead letters, deliveries that hosts refused: listed, shown, thrown
// away, replayed. Called through routes.c. Shows no bodies: they are the tenants'.
#include "remote/dead.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "api/internal.h"

#define POSITION_MAX 15000
#define LIST_MAX     900
#define CHANGE_MAX   256 // letters thrown away or replayed by one request; the answer says if there are more

static void set_text(json_t *object, const char *name, struct broker_text text)
{
    if (text.len > 0) // what is no UTF-8 is left out
        json_object_set_new(object, name, json_stringn(text.data, text.len));
}

static json_t *view_letter(const struct remote_dead *d)
{
    json_t *item =
        json_pack("{s:s, s:s, s:I}", "letter", d->letter, "state", "dead", "size", (json_int_t)d->body_bytes);
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
    return item;
}

static json_t *view_whole(const struct remote_dead *d)
{
    const struct broker_properties *p = d->properties;
    json_t *item = view_letter(d), *headers = json_object();
    json_object_set_new(item, "kind", json_string("dead-letter"));
    set_text(item, "exchange", d->exchange);
    set_text(item, "content_type", p->content_type);
    set_text(item, "correlation_id", p->correlation_id);
    set_text(item, "reply_to", p->reply_to);
    json_object_set_new(item, "priority", json_integer(p->priority));
    const uint64_t sent_ms = p->timestamp * 1000; // whatever a client wrote
    if (p->timestamp != 0)
        json_object_set_new(item, "sent", json_integer((json_int_t)sent_ms));
    for (size_t i = 0; i < p->n_headers; i++) {
        json_t *value =
            json_stringn(p->headers[i].value.data ? p->headers[i].value.data : "", p->headers[i].value.len);
        if (value)
            json_object_setn_new(headers, p->headers[i].name.data, p->headers[i].name.len, value);
    }
    json_object_set_new(item, "headers", headers);
    return item;
}

// --- answers ---

static void reply_list(struct api *api, struct http_request *req, const struct remote_dead_end *end)
{
    json_t *list = json_pack("{s:s, s:O}", "kind", "list", "items", api->broker_dead.items);
    if (end->more && api->broker_dead.position < POSITION_MAX)
        json_object_set_new(list, "cursor", json_sprintf("%" PRIu64, api->broker_dead.position + end->done));
    reply_object(api, req, 200, list);
}

static void reply_none(struct api *api, struct http_request *req)
{
    reply_problem(api, req, 404, "no-such-message",
                  "there is no dead letter %.64s among the broker's first %u",
                  http_request_param(req, "letter"), REMOTE_DEAD_REACH);
}

static void reply_change(struct api *api, struct http_request *req, const struct remote_dead_end *end)
{
    bool purged = api->broker_dead.what == REMOTE_DEAD_PURGE;
    json_t *out = json_pack("{s:s, s:I, s:I}", "kind", purged ? "purged" : "replayed", "messages",
                            (json_int_t)end->done, "kept", (json_int_t)end->kept);
    if (end->kept > 0)
        json_object_set_new(out, "reason", json_pack("{s:s, s:s}", "code", end->code, "text", end->text));
    if (end->more) // what is kept stays in front
        json_object_set_new(out, "cursor", json_sprintf("%" PRIu64, api->broker_dead.position + end->kept));
    reply_object(api, req, 200, out);
}

static void reply_end(struct api *api, struct http_request *req, const struct remote_dead_end *end)
{
    bool one = http_request_param(req, "letter") != NULL;
    if (end->why && end->done + end->kept == 0)
        reply_problem(api, req, 503, "broker-unavailable", "look at the broker's dead letters: %s", end->why);
    else if (one && end->done + end->kept == 0)
        reply_none(api, req);
    else if (one && end->kept > 0)
        reply_problem(api, req, 409, end->code, "the letter is not replayed: %s", end->text);
    else if (api->broker_dead.what != REMOTE_DEAD_LOOK)
        reply_change(api, req, end);
    else if (one)
        reply_object(api, req, 200, json_incref(json_array_get(api->broker_dead.items, 0)));
    else
        reply_list(api, req, end);
}

static void on_dead(void *arg, uint64_t request, const struct remote_dead *d,
                    const struct remote_dead_end *end)
{
    struct api *api = arg;
    struct http_request *req = http_request_find(api->server, request);
    if (d && api->broker_dead.what == REMOTE_DEAD_LOOK)
        json_array_append_new(api->broker_dead.items,
                              api->broker_dead.whole ? view_whole(d) : view_letter(d));
    if (d)
        return;
    if (req)
        reply_end(api, req, end);
    json_decref(api->broker_dead.items);
    api->broker_dead.items = NULL;
}

// --- questions ---

static void walk(struct api *api, struct http_request *req, const struct remote_dead_ask *ask)
{
    if (!api->deps.remote) {
        reply_problem(api, req, 503, "no-broker", "envd was started without --broker");
        return;
    }
    int rc = api->broker_dead.items
                 ? -EBUSY
                 : remote_dead_walk(api->deps.remote, ask, on_dead, api, http_request_id(req));
    if (rc < 0) {
        reply_problem(api, req, 503, rc == -EBUSY ? "busy" : "broker-unavailable",
                      rc == -EBUSY ? "somebody else is at the dead letters now"
                                   : "the link to the broker has no room for the question");
        return;
    }
    api->broker_dead.items = json_array();
    api->broker_dead.what = ask->what;
    api->broker_dead.position = ask->position;
    api->broker_dead.whole = ask->letter != NULL;
}

void handle_broker_dead(void *arg, struct http_request *req)
{
    uint64_t limit, position;
    if (request_number(arg, req, "limit", 1, LIST_MAX, API_LIST_LIMIT, &limit) &&
        request_number(arg, req, "cursor", 0, POSITION_MAX, 0, &position))
        walk(arg, req,
             &(struct remote_dead_ask){REMOTE_DEAD_LOOK, NULL, (uint32_t)position, (uint32_t)limit});
}

static void change(struct api *api, struct http_request *req, enum remote_dead_what what)
{
    struct remote_dead_ask ask = {.what = what, .letter = http_request_param(req, "letter")};
    uint64_t position;
    if (!request_number(api, req, "cursor", 0, POSITION_MAX, 0, &position))
        return;
    ask.position = (uint32_t)position;
    ask.limit = CHANGE_MAX;
    walk(api, req, &ask);
}

void handle_broker_dead_show(void *arg, struct http_request *req)
{
    change(arg, req, REMOTE_DEAD_LOOK);
}

void handle_broker_dead_purge(void *arg, struct http_request *req)
{
    change(arg, req, REMOTE_DEAD_PURGE);
}

void handle_broker_dead_replay(void *arg, struct http_request *req)
{
    change(arg, req, REMOTE_DEAD_REPLAY);
}
