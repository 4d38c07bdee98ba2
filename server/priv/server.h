// The conversation with envd: one connection at a time, requests in, answers and events out (privctl.h).
// Called by main.c; what the requests mean is in requests.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "priv.h"

struct server {
    struct priv *priv;
    uid_t user; // whose envd it is; root may connect too
    int listener;
    int signals; // signalfd: CHLD, TERM, INT
    int client;  // -1 when there is none
    bool greeted;
    bool blocked; // the client does not take its answers: no more requests are read
    bool listing; // LIST is being answered, from slot list_next on
    uint32_t list_tag;
    unsigned list_next;
    uint8_t *datagram; // PRIVCTL_DATAGRAM_MAX
};

// Takes over listener and signals. server_done() accepts the zeroed.
int server_init(struct server *s, struct priv *p, uid_t user, int listener, int signals);
void server_done(struct server *s);
// Serves until SIGTERM or SIGINT: 0; or until something is broken beyond repair.
int server_run(struct server *s, struct err *err);

struct request {
    const struct privctl_message *m;
    const int *fds; // stay the server's
    size_t n_fds;
};

// One datagram from the client, as if hostile: decoded, checked, answered. The descriptors are closed in any
// case.
void server_take_datagram(struct server *s, const uint8_t *untrusted_data, size_t len, int *fds,
                          size_t n_fds);

// Sends an answer or event to the client. 0 or -errno; nothing is closed.
int server_send(struct server *s, const struct privctl_message *m, int fd);
// The handler of a request, or NULL when the type is none. Returns 0: to be answered with OK; 1: answered
// already; -errno with err set: to be answered with FAIL.
typedef int (*request_handler)(struct server *s, const struct request *r, struct err *err);
request_handler request_handler_of(enum privctl_type type);
