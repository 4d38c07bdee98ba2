// What belongs to one environment and comes from the journal, between being read and being asked for; and
// what is to be written for it again. Made by durable.c, emptied by mailbox_host.c.
#pragma once

#include <sys/queue.h>

#include "common/table.h"
#include "route/kept.h"
#include "route/message.h"

struct kept_mail {
    TAILQ_ENTRY(kept_mail) link; // by seq
    struct table_node by_seq;
    struct message *message;
    uint64_t seq;
    uint64_t mark; // the record that says that it is a dead letter; 0: it is none
    uint64_t since_ms;
    uint8_t reason;
    uint64_t arrived_ms;
    uint64_t counted; // the record of its attempts; 0: none
    uint32_t attempts, deaths;
};

struct kept_key_list {
    struct kept_key *keys;
    size_t n, cap;
};

struct kept_box {
    struct table_node node;
    SLIST_ENTRY(kept_box) link; // of what could not be written
    char tenant[NAME_CAP], name[NAME_CAP];
    TAILQ_HEAD(, kept_mail) mails;
    struct kept_key_list windows[KEPT_WINDOWS];
};
