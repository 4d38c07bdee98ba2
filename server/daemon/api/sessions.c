// Owns sessions with guests: exec, copy and console over an upgraded connection. A request waits for the
// guest's stream, then its connection becomes one end of a relay. Each session's start and end is a line of
// the log. Called through routes.c.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>

#include "api/internal.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "common/log.h"
#include "env/streams.h"
#include "relay/console.h"
#include "relay/watch.h"

#define PROTOCOL        "envd-session"
#define PER_ENVIRONMENT 8u
#define PER_HOST        256u
#define SUBJECT_CAP     128
#define NS_PER_MS       1000000u

struct api_session {
    struct api_session *next;
    struct api *api;
    uint64_t request; // that waits for the stream
    char tenant[NAME_CAP], name[NAME_CAP], about[2 * NAME_CAP];
    const char *verb; // exec, copy, console
    char subject[SUBJECT_CAP];
    long uid; // of the client, -1: unknown
    uint64_t started_ns;
    struct stream_wait *wait;
    uint8_t *first; // the frame that the agent's stream begins with; NULL: a console
    size_t first_len;
    struct relay *relay;
    struct session_watch watch;
    struct console console;
};

static void session_drop(struct api_session *s)
{
    for (struct api_session **p = &s->api->sessions; *p; p = &(*p)->next) {
        if (*p != s)
            continue;
        *p = s->next;
        break;
    }
    streams_cancel(s->wait);
    relay_free(s->relay);
    free(s->first);
    free(s);
}

static void record_end(struct api_session *s, const char *reason)
{
    char result[64] = "";
    if (s->first)
        session_watch_result(&s->watch, result, sizeof result);
    log_info(s->about, "session ended: %s %s, uid %ld, %llu ms%s%s: %s", s->verb, s->subject, s->uid,
             (unsigned long long)((io_monotonic_ns() - s->started_ns) / NS_PER_MS), result[0] ? ", " : "",
             result, reason);
}

void sessions_stop(struct api *api)
{
    while (api->sessions) {
        if (api->sessions->relay)
            record_end(api->sessions, "envd ends");
        session_drop(api->sessions);
    }
}

// --- what passes ---

// The agent's frames are followed. The client's are not: it is an operator, and the agent judges them.
static const char *pass_agent(void *arg, enum relay_from from, struct evbuffer *in, struct evbuffer *out)
{
    struct api_session *s = arg;
    struct evbuffer_iovec pieces[16];
    while (from == RELAY_GUEST && evbuffer_get_length(in) > 0) {
        size_t len = evbuffer_get_contiguous_space(in);
        if (evbuffer_peek(in, (ev_ssize_t)len, NULL, pieces, 1) < 1)
            return "no memory";
        const char *wrong = session_watch_feed(&s->watch, pieces[0].iov_base, len);
        if (wrong)
            return wrong;
        if (evbuffer_remove_buffer(in, out, len) != (int)len)
            return "no memory";
    }
    if (from == RELAY_CLIENT && evbuffer_add_buffer(out, in) < 0)
        return "no memory";
    return NULL;
}

static const char *pass_console(void *arg, enum relay_from from, struct evbuffer *in, struct evbuffer *out)
{
    return console_pass(&((struct api_session *)arg)->console, from, in, out);
}

static void on_resize(void *arg, uint16_t columns, uint16_t rows)
{
    struct api_session *s = arg;
    streams_resize_console(s->api->deps.manager, s->tenant, s->name, columns, rows);
}

static void on_end(void *arg, const char *reason)
{
    struct api_session *s = arg;
    record_end(s, reason);
    session_drop(s);
}

// --- beginning ---

static int start_relay(struct api_session *s, struct bufferevent *client, int fd)
{
    const struct relay_cb cb = {s->first ? pass_agent : pass_console, on_end};
    int rc = relay_new(s->api->deps.base, client, fd, &cb, s, &s->relay);
    if (rc < 0)
        return rc;
    if (s->first)
        return relay_send(s->relay, RELAY_GUEST, s->first, s->first_len);
    s->console = (struct console){.relay = s->relay, .on_resize = on_resize, .arg = s};
    return console_start(&s->console);
}

static void upgrade(struct api_session *s, struct http_request *req, int fd)
{
    struct bufferevent *client = http_upgrade(req, PROTOCOL);
    if (!client) {
        close(fd);
        reply_problem(s->api, req, 500, "internal", "no memory for a session");
        session_drop(s);
        return;
    }
    reply_count(s->api, 101);
    int rc = start_relay(s, client, fd);
    if (rc == 0) {
        log_info(s->about, "session started: %s %s, uid %ld", s->verb, s->subject, s->uid);
        return;
    }
    log_warn(s->about, "a session could not begin: %s", strerror(-rc));
    if (!s->relay) {
        bufferevent_free(client);
        close(fd);
    }
    session_drop(s);
}

static void on_stream(void *arg, int fd, const struct refusal *why)
{
    struct api_session *s = arg;
    struct http_request *req = s->api->server ? http_request_find(s->api->server, s->request) : NULL;
    s->wait = NULL;
    if (req)
        http_request_on_gone(req, NULL, NULL);
    if (req && fd >= 0) {
        upgrade(s, req, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    else if (req)
        reply_refusal(s->api, req, why);
    session_drop(s);
}

static void on_gone(void *arg)
{
    session_drop(arg);
}

static bool within_limits(struct api *api, struct http_request *req, const char *tenant, const char *name)
{
    unsigned n_host = 0, n_here = 0;
    for (const struct api_session *s = api->sessions; s; s = s->next) {
        n_host++;
        n_here += strcmp(s->tenant, tenant) == 0 && strcmp(s->name, name) == 0;
    }
    if (n_here < PER_ENVIRONMENT && n_host < PER_HOST)
        return true;
    struct refusal why;
    refuse(&why, -EBUSY, 409, "too-many-sessions", "%s/%s: %u sessions are open, with %u on this host",
           tenant, name, n_here, n_host);
    refusal_remedy(&why, "End one first: %u may be open at once, %u on a host", PER_ENVIRONMENT, PER_HOST);
    reply_refusal(api, req, &why);
    return false;
}

static bool wants_upgrade(struct api *api, struct http_request *req)
{
    if (http_request_wants_upgrade(req, PROTOCOL))
        return true;
    struct refusal why;
    refuse(&why, -EINVAL, 426, "upgrade-required", "a session needs the connection for itself");
    refusal_remedy(&why, "Send Connection: Upgrade and Upgrade: " PROTOCOL);
    http_reply_header(req, "Upgrade", PROTOCOL);
    reply_refusal(api, req, &why);
    return false;
}

typedef uint8_t *body_reader(struct api *api, struct http_request *req, size_t *ret_len, char *subject,
                             size_t subject_cap);

static struct api_session *session_make(struct api *api, struct http_request *req, const char *verb,
                                        body_reader *read_body)
{
    const char *tenant, *name;
    if (!request_name(api, req, "tenant", &tenant) || !request_name(api, req, "environment", &name) ||
        !wants_upgrade(api, req) || !within_limits(api, req, tenant, name))
        return NULL;
    struct api_session *s = calloc(1, sizeof *s);
    if (!s) {
        reply_problem(api, req, 500, "internal", "no memory for a session");
        return NULL;
    }
    const struct http_peer *peer = http_request_peer(req);
    s->api = api;
    s->request = http_request_id(req);
    s->verb = verb;
    s->uid = peer->has_credentials ? (long)peer->uid : -1;
    s->started_ns = io_monotonic_ns();
    snprintf(s->tenant, sizeof s->tenant, "%s", tenant);
    snprintf(s->name, sizeof s->name, "%s", name);
    snprintf(s->about, sizeof s->about, "%s/%s", tenant, name);
    s->first = read_body ? read_body(api, req, &s->first_len, s->subject, sizeof s->subject) : NULL;
    if (read_body && !s->first) {
        free(s);
        return NULL;
    }
    s->next = api->sessions;
    api->sessions = s;
    return s;
}

static void begin(struct api *api, struct http_request *req, const char *verb, body_reader *read_body,
                  enum agent_session_kind kind)
{
    struct refusal why;
    struct manager *m = api->deps.manager;
    struct api_session *s = session_make(api, req, verb, read_body);
    if (!s)
        return;
    int rc = s->first ? streams_open(m, s->tenant, s->name, kind, on_stream, s, &s->wait, &why)
                      : streams_open_console(m, s->tenant, s->name, on_stream, s, &s->wait, &why);
    if (rc == 0) {
        http_request_on_gone(req, on_gone, s);
        return;
    }
    s->wait = NULL;
    log_info(s->about, "session refused: %s %s, uid %ld: %s", s->verb, s->subject, s->uid, why.code);
    reply_refusal(api, req, &why);
    session_drop(s);
}

void handle_exec(void *arg, struct http_request *req)
{
    begin(arg, req, "exec", session_body_exec, AGENT_SESSION_EXEC);
}

void handle_copy(void *arg, struct http_request *req)
{
    begin(arg, req, "copy", session_body_copy, AGENT_SESSION_COPY);
}

void handle_console(void *arg, struct http_request *req)
{
    begin(arg, req, "console", NULL, AGENT_SESSION_EXEC);
}
