// Owns the reading of logs over HTTP: what is there, and what comes (follow). Called through routes.c and by
// the manager's hint that a log has grown. A reader is fed only as fast as it reads; what the ring has
// dropped meanwhile is skipped.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/internal.h"
#include "common/cleanup.h"
#include "env/logfile.h"

#define CHUNK 16384

struct log_reader {
    struct log_reader *next;
    struct api *api;
    uint64_t request;
    char tenant[NAME_CAP], name[NAME_CAP];
    int fd; // -1: there is no log yet
    uint64_t at;
    uint64_t end; // UINT64_MAX: follows
};

static void reader_free(struct log_reader *r)
{
    for (struct log_reader **p = &r->api->log_readers; *p; p = &(*p)->next) {
        if (*p != r)
            continue;
        *p = r->next;
        break;
    }
    if (r->fd >= 0)
        close(r->fd);
    free(r);
}

static bool environment_exists(const struct log_reader *r)
{
    char key[DOC_KEY_CAP];
    doc_key_of(key, DOC_ENVIRONMENTS, r->tenant, r->name);
    return store_get(r->api->deps.store, key) != NULL;
}

static void finish(struct log_reader *r, struct http_request *req)
{
    http_request_on_gone(req, NULL, NULL);
    http_stream_end(req);
    reader_free(r);
}

// Sends what there is and what there is room for. May free r.
static void pump(struct log_reader *r, struct http_request *req)
{
    char data[CHUNK];
    struct logring ring;
    if (r->fd < 0)
        r->fd = logfile_open_read(r->api->deps.log_folder, r->tenant, r->name);
    bool readable = r->fd >= 0 && logfile_header(r->fd, &ring) == 0;
    while (readable && r->at < r->end) {
        size_t room = http_stream_room(req);
        uint64_t from = r->at, left = r->end - r->at;
        size_t want = left < sizeof data ? (size_t)left : sizeof data;
        if (room == 0)
            return; // on_writable comes
        ssize_t n = logfile_read(r->fd, &ring, &from, data, want < room ? want : room);
        if (n <= 0 || http_stream_write(req, data, (size_t)n) < 0)
            break;
        r->at = from + (uint64_t)n;
    }
    if (r->end != UINT64_MAX || !environment_exists(r))
        finish(r, req);
}

static void on_writable(void *arg, struct http_request *req)
{
    pump(arg, req);
}

static void on_gone(void *arg)
{
    reader_free(arg);
}

void logs_on_growth(void *arg, const char *tenant, const char *name)
{
    struct api *api = arg;
    struct log_reader *next;
    for (struct log_reader *r = api->log_readers; r; r = next) {
        next = r->next;
        struct http_request *req = http_request_find(api->server, r->request);
        if (req && strcmp(r->tenant, tenant) == 0 && strcmp(r->name, name) == 0)
            pump(r, req);
    }
}

static void start(struct log_reader *r, struct http_request *req, const struct logring *ring, bool follow)
{
    static const char *const names[] = {"Envd-Log-Offset", "Envd-Log-Total", "Envd-Log-Dropped"};
    uint64_t values[] = {r->at, ring->total, ring->dropped};
    for (size_t i = 0; i < 3; i++) {
        char text[24];
        snprintf(text, sizeof text, "%llu", (unsigned long long)values[i]);
        http_reply_header(req, names[i], text);
    }
    r->end = follow ? UINT64_MAX : ring->total;
    r->next = r->api->log_readers;
    r->api->log_readers = r;
    reply_count(r->api, 200);
    http_request_on_gone(req, on_gone, r);
    http_stream_start(req, 200, "text/plain", on_writable, r);
}

static int open_reader(struct api *api, struct http_request *req, const char *tenant, const char *name,
                       struct log_reader **ret)
{
    struct log_reader *r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->api = api;
    r->request = http_request_id(req);
    snprintf(r->tenant, sizeof r->tenant, "%s", tenant);
    snprintf(r->name, sizeof r->name, "%s", name);
    r->fd = logfile_open_read(api->deps.log_folder, tenant, name);
    *ret = r;
    return 0;
}

void handle_logs(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *tenant, *name;
    uint64_t since, tail;
    bool follow;
    char key[DOC_KEY_CAP];
    struct log_reader *r;
    struct logring ring = {0};
    if (!request_name(api, req, "tenant", &tenant) || !request_name(api, req, "environment", &name) ||
        !request_number(api, req, "since", 0, UINT64_MAX - 1, 0, &since) ||
        !request_number(api, req, "tail", 0, 100000, UINT64_MAX, &tail) ||
        !request_flag(api, req, "follow", &follow))
        return;
    doc_key_of(key, DOC_ENVIRONMENTS, tenant, name);
    if (!store_get(api->deps.store, key)) {
        reply_problem(api, req, 404, "no-such-environment", "there is no environment %s/%s", tenant, name);
        return;
    }
    if (open_reader(api, req, tenant, name, &r) < 0) {
        reply_problem(api, req, 500, "internal", "no memory for the log's reader");
        return;
    }
    if (r->fd >= 0 && logfile_header(r->fd, &ring) < 0)
        ring = (struct logring){0};
    r->at = since;
    if (tail != UINT64_MAX && r->fd >= 0 && ring.capacity)
        r->at = logfile_tail(r->fd, &ring, (uint32_t)tail);
    if (ring.capacity && r->at < logring_oldest(&ring))
        r->at = logring_oldest(&ring);
    start(r, req, &ring, follow);
}
