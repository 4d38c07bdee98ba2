// The link to envpriv (proto/privctl.h): connecting and reconnecting for ever, requests and their answers,
// events. Called by manager.c; knows the protocol, not what environments are. One loop's thread; nothing
// blocks.
#pragma once

#include <event2/event.h>
#include <stdbool.h>

#include "proto/privctl.h"

#define PRIV_TEXT_CAP 128

struct priv_link;

// What envpriv said of itself and the host.
struct priv_facts {
    char instance[PRIVCTL_INSTANCE_MAX + 1];
    char kvm[16];
    char kvm_detail[PRIV_TEXT_CAP];
    char cgroup[16];
};

struct priv_link_cb {
    // Connected. The list of what runs follows: on_entry for each (fd: the control socket, the callee's, or
    // -1), then on_listed; requests are welcome from then on.
    void (*on_up)(void *arg, const struct priv_facts *facts);
    void (*on_entry)(void *arg, const struct privctl_message *entry, int fd);
    void (*on_listed)(void *arg);
    void (*on_exited)(void *arg, const struct id *vm, int32_t wait_status);
    // The answer to a request (OK, FAIL, SPAWN_OK); request: what was asked (type, vm, net). answer NULL: the
    // link broke first, what became of the request is not known. fd: the control socket of SPAWN_OK, the
    // callee's, else -1.
    void (*on_answer)(void *arg, const struct privctl_message *request, const struct privctl_message *answer,
                      int fd);
    // The connection is gone (or could not be made: reported once per outage, with the reason). Reconnects by
    // itself.
    void (*on_down)(void *arg, const char *reason);
};

// Starts connecting at once. cb is copied. NULL: no memory.
struct priv_link *priv_link_new(struct event_base *base, const char *path, const struct priv_link_cb *cb,
                                void *arg);
// No callback is made any more. Accepts NULL.
void priv_link_free(struct priv_link *link);
// True from on_listed to on_down.
bool priv_link_up(const struct priv_link *link);
// Sends NET_UP, NET_DOWN, SPAWN, KILL or FORGET (its tag is chosen here). fds stay the caller's. 0, or
// -ENOTCONN (not up), -EBUSY (too many outstanding), -EMSGSIZE (the message is too large), -ENOMEM: on_answer
// is not called then.
int priv_link_request(struct priv_link *link, const struct privctl_message *request, const int *fds,
                      size_t n_fds);
