// Owns the stream of events: every change of every object, in order, replayed from a revision. Called through
// routes.c. A reader that cannot keep up is not buffered for: its watch is closed and opened again, where it
// stopped, when it has room.
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "common/cleanup.h"

#define HEARTBEAT_S 15
#define SINCE_NOW   UINT64_MAX
#define DATA_MAX    65536 // bytes of an event; larger ones come without their object

struct event_reader {
    struct event_reader *next;
    struct api *api;
    uint64_t request;
    struct store_watch *watch;
    uint64_t seen; // the last revision of which everything was sent
    struct event *heartbeat;
};

static void reader_free(struct event_reader *r)
{
    for (struct event_reader **p = &r->api->event_readers; *p; p = &(*p)->next) {
        if (*p != r)
            continue;
        *p = r->next;
        break;
    }
    store_watch_close(r->watch);
    if (r->heartbeat)
        event_free(r->heartbeat);
    free(r);
}

static void pause_reading(struct event_reader *r)
{
    store_watch_close(r->watch);
    r->watch = NULL;
}

// One event; takes data. 0, or -EAGAIN when the reader has no room.
static int send_event(struct http_request *req, const char *type, uint64_t revision, json_t *data)
{
    _cleanup_json_ json_t *owned = data;
    _cleanup_free_ char *text = json_dumps(data, JSON_COMPACT);
    if (text && strlen(text) > DATA_MAX && json_object_get(data, "object")) {
        // What would never fit into the stream's buffer is left to be asked for.
        json_object_del(data, "object");
        return send_event(req, type, revision, json_incref(data));
    }
    _cleanup_free_ char *frame = NULL;
    int n =
        text ? asprintf(&frame, "id: %llu\nevent: %s\ndata: %s\n\n", (unsigned long long)revision, type, text)
             : -1;
    return n < 0 ? -ENOMEM : http_stream_write(req, frame, (size_t)n);
}

static json_t *event_json(const struct api *api, const char *type, uint64_t revision, const char *kind,
                          const char *tenant, const char *name)
{
    json_t *data = json_pack("{s:I, s:s, s:s, s:s}", "revision", (json_int_t)revision, "event", type, "kind",
                             kind, "name", name);
    if (tenant[0])
        json_object_set_new(data, "tenant", json_string(tenant));
    json_t *object = strcmp(type, "put") == 0 ? view_by_kind(api, kind, tenant, name) : NULL;
    if (object)
        json_object_set_new(data, "object", object);
    return data;
}

static int pass_on(struct event_reader *r, struct http_request *req, const struct store_event *event)
{
    char tenant[NAME_CAP], name[DOC_KEY_CAP];
    const char *kind, *type = event->type == STORE_EVENT_PUT ? "put" : "delete";
    bool shown = view_split_key(event->key, &kind, tenant, name);
    // The end of an environment's status is told by the end of the environment.
    bool status_end =
        event->type == STORE_EVENT_DELETE && strncmp(event->key, DOC_STATUS, strlen(DOC_STATUS)) == 0;
    int rc = 0;
    if (shown && !status_end)
        rc = send_event(req, type, event->revision,
                        event_json(r->api, type, event->revision, kind, tenant, name));
    if (rc == 0 && !event->more)
        r->seen = event->revision;
    return rc;
}

static int send_resync(struct event_reader *r, struct http_request *req)
{
    uint64_t now = store_revision(r->api->deps.store);
    int rc = send_event(req, "resync", now,
                        json_pack("{s:I, s:s, s:s, s:s}", "revision", (json_int_t)now, "event", "resync",
                                  "kind", "store", "name", ""));
    if (rc == 0)
        r->seen = now;
    return rc;
}

static void on_event(void *arg, const struct store_event *event)
{
    struct event_reader *r = arg;
    struct http_request *req = http_request_find(r->api->server, r->request);
    int rc = 0;
    if (!req || event->type == STORE_EVENT_SYNCED)
        return;
    if (event->type == STORE_EVENT_COMPACTED || event->type == STORE_EVENT_FAILED) {
        pause_reading(r);
        rc = send_resync(r, req);
        if (rc == 0)
            r->watch = store_watch_open(r->api->deps.store, "", r->seen, on_event, r);
        return;
    }
    rc = pass_on(r, req, event);
    if (rc < 0)
        pause_reading(r); // goes on in on_writable
}

static void on_writable(void *arg, struct http_request *req)
{
    struct event_reader *r = arg;
    (void)req;
    if (!r->watch)
        r->watch = store_watch_open(r->api->deps.store, "", r->seen, on_event, r);
}

static void on_heartbeat(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct event_reader *r = arg;
    struct http_request *req = http_request_find(r->api->server, r->request);
    if (req)
        http_stream_write(req, ": alive\n\n", 9); // no room: the reader has other things to read
}

static void on_gone(void *arg)
{
    reader_free(arg);
}

void events_stop(struct api *api)
{
    for (struct event_reader *r = api->event_readers; r; r = r->next)
        pause_reading(r);
}

// since=, or the header that browsers send when they reconnect; SINCE_NOW when there is neither.
static bool request_since(struct api *api, struct http_request *req, uint64_t *ret)
{
    const char *header = http_request_header(req, "Last-Event-ID");
    char *end;
    if (!request_number(api, req, "since", 0, INT64_MAX, SINCE_NOW, ret))
        return false;
    if (*ret == SINCE_NOW && header) {
        errno = 0;
        *ret = strtoull(header, &end, 10);
        if (errno != 0 || end == header || *end != '\0') {
            reply_problem(api, req, 400, "invalid-header", "Last-Event-ID must be a revision");
            return false;
        }
    }
    return true;
}

void handle_events(void *arg, struct http_request *req)
{
    struct api *api = arg;
    uint64_t since;
    if (!request_since(api, req, &since))
        return;
    struct event_reader *r = calloc(1, sizeof *r);
    if (r) {
        r->api = api;
        r->heartbeat = event_new(api->deps.base, -1, EV_PERSIST, on_heartbeat, r);
    }
    if (!r || !r->heartbeat) {
        free(r);
        reply_problem(api, req, 500, "internal", "no memory for the events");
        return;
    }
    r->request = http_request_id(req);
    r->seen = since == SINCE_NOW ? store_revision(api->deps.store) : since;
    r->next = api->event_readers;
    api->event_readers = r;
    reply_count(api, 200);
    event_add(r->heartbeat, &(struct timeval){.tv_sec = HEARTBEAT_S});
    http_request_on_gone(req, on_gone, r);
    http_stream_start(req, 200, "text/event-stream", on_writable, r);
}
