// A server on a Unix socket in a folder of its own, and clients of it, in one process and one loop.
#pragma once

#include "testing.h"

#include <event2/event.h>

#include "http/server.h"

struct fixture {
    struct event_base *base;
    char dir[64];
    char path[96];
    struct http_limits limits; // for the next fixture_start()
    http_handler *admit;
    struct http_server *server;
    // what the routes of routes.c leave behind
    uint64_t id;   // of the last deferred or streamed request
    int n_handled; // calls of any handler
    int n_gone;    // calls of on_gone
    size_t n_body; // bytes of the streamed body so far
    int n_body_ended;
    size_t n_streamed; // bytes written by /flood
    bool pause_each;   // /upload pauses after each piece
    struct bufferevent *upgraded;
    struct http_peer peer; // of the last request of /echo
};

extern const struct http_route FIXTURE_ROUTES[];
extern const size_t FIXTURE_N_ROUTES;

int fixture_setup(void **state); // not started
int fixture_teardown(void **state);
void fixture_start(struct fixture *f);

// A non-blocking client.
int client_connect(struct fixture *f);
// Sends all, running the loop when the socket is full; fails the test after 10 s without progress.
void client_send(struct fixture *f, int fd, const char *text);
// Runs the loop until the client has received `until` (NULL: the end of the stream); returns all received
// since the last call, valid until the next. Fails the test after 10 s, or when the stream ends without it.
const char *client_expect(struct fixture *f, int fd, const char *until);
// Both on a connection of its own, with "Host" added; returns what came until the server closed: `request`
// has to make it close.
const char *exchange(struct fixture *f, const char *request);
// Runs the loop for so long.
void run_ms(struct fixture *f, unsigned ms);
// Runs the loop until *value reaches at least n; fails the test after 10 s.
void run_until(struct fixture *f, const int *value, int n);
