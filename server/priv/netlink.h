// Batches of netlink requests, each acknowledged, on one blocking socket (the kernel answers before send
// returns). Used by net_link.c (rtnetlink) and net_filter.c (nfnetlink); knows neither's messages.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <libmnl/libmnl.h>

#include "common/err.h"

#define NL_BATCH_MESSAGES    12
#define NL_MESSAGE_BYTES_MAX 2048 // what a caller may put into one message
#define NL_BATCH_BYTES       (NL_BATCH_MESSAGES * NL_MESSAGE_BYTES_MAX)

struct netlink {
    struct mnl_socket *socket;
    uint32_t next_seq;
};

struct nl_batch {
    uint32_t first_seq;
    unsigned n;
    unsigned n_acks;
    struct nlmsghdr *messages[NL_BATCH_MESSAGES];
    const char *what[NL_BATCH_MESSAGES]; // for the error text: "make the bridge"
    _Alignas(struct nlmsghdr) uint8_t bytes[NL_BATCH_BYTES];
};

// bus: NETLINK_ROUTE or NETLINK_NETFILTER. netlink_done() accepts the zeroed.
int netlink_init(struct netlink *nl, int bus, struct err *err);
void netlink_done(struct netlink *nl);

void nl_batch_init(struct nl_batch *b, const struct netlink *nl);
// Adds a message with an empty body of extra bytes (ifinfomsg and the like). flags without REQUEST and ACK.
// what: a constant text that outlives the batch, or NULL for a message that the kernel does not acknowledge.
void *nl_batch_add(struct nl_batch *b, uint16_t type, uint16_t flags, size_t extra, const char *what);
// The message that was added last, for mnl_attr_put_*().
struct nlmsghdr *nl_batch_message(struct nl_batch *b);
// Sends the batch and takes all acknowledgements. The first failure's -errno and what, or 0.
int nl_batch_commit(struct netlink *nl, struct nl_batch *b, struct err *err);
// Sends the batch's only message as a dump and calls each for every answer. each returns 0, or -errno to stop
// early.
int nl_batch_dump(struct netlink *nl, struct nl_batch *b, int (*each)(const struct nlmsghdr *m, void *arg),
                  void *arg, struct err *err);
