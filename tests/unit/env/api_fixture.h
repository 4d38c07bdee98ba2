// The whole daemon in one process but for main: store, manager (without an envpriv), router, API and HTTP
// server on a Unix socket, and a client on the same event loop.
#pragma once

#include "fixture.h"

#include "api/api.h"

struct daemon {
    struct fixture *f;
    struct images *images;
    struct mediator *mediator;
    struct router *router;
    struct manager *manager;
    struct api *api;
    struct http_server *http;
    char socket[96], logs[96], priv[96];
    int kernel_fd;
    uid_t admin;
    uint32_t restart_min_ms;
    uint32_t timeout_ms; // of agents' hello and of envvm's answers, as the line above from the next
                         // daemon_start() on
};

struct reply {
    int status; // 0: the connection ended without one
    char head[4096];
    char *body; // NUL-terminated
    size_t len;
    json_t *json; // when it is JSON
};

int daemon_setup(void **state);
int daemon_teardown(void **state);
void daemon_stop(struct daemon *d);  // all but the folder and the store
void daemon_start(struct daemon *d); // again

// One request on a connection of its own, until its reply is complete. headers: lines that end in \r\n, or
// NULL. The reply is valid until the next call; it belongs to the fixture.
const struct reply *call(struct daemon *d, const char *method, const char *path, const char *headers,
                         const char *body);
// The same, and the status must be as given.
const struct reply *call_ok(struct daemon *d, int status, const char *method, const char *path,
                            const char *body);
// A text at a dotted path of the last reply, "" when there is none; and a number, -1.
const char *text_at(const char *path);
int64_t number_in(const char *path);
size_t n_items(void); // of the list that the last reply is

// A connection for replies that do not end by themselves.
int open_stream(struct daemon *d, const char *path, const char *headers);
// Reads from it until text has come; fails the test after 30 s. What came is returned, valid until the next
// call.
const char *read_until(struct daemon *d, int fd, const char *text);

void make_tenant(struct daemon *d, const char *name);
void make_environment(struct daemon *d, const char *tenant,
                      const char *name); // of the image DIGEST_A, which it makes
