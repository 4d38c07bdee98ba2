// The mailbox interface: where an environment's messages wait until it has processed them. The router owns
// mailboxes and is the only caller; a class of mailbox is one ops table. A put may finish later, for classes
// that write to disk or to a broker; everything else answers at once from what the mailbox knows.
//
// A message is queued, then out (taken by next), then gone (ack) or queued again at its old place (release).
// Order is by priority, then by arrival: it holds per sender and receiver for messages of one priority.
// Replies come before all else, because they can be taken without credit, and have limits of their own,
// because a mailbox that strangers filled must not keep an environment from hearing the answers to its calls.
#pragma once

#include "route/message.h"

enum mailbox_outcome {
    MAILBOX_STORED,    // as durable as the class promises
    MAILBOX_DUPLICATE, // it was stored before, within the window
    MAILBOX_FULL,
    MAILBOX_UNKNOWN, // it may or may not have been stored
};

typedef void mailbox_put_cb(void *arg, enum mailbox_outcome outcome);

// One for all mailboxes of a router.
struct mailbox_budget {
    uint64_t bytes;
    uint64_t bytes_max;
};

struct mailbox_limits {
    uint32_t messages_max; // and as many replies
    uint64_t bytes_max;    // and as much of replies
    uint32_t window;       // ids remembered to find duplicates
    struct mailbox_budget *budget;
};

struct mailbox_stats {
    uint64_t messages, bytes; // queued and out
    uint64_t out;
    uint64_t expired; // dropped since the mailbox was made
};

struct mailbox {
    const struct mailbox_ops *ops;
};

struct mailbox_ops {
    // Takes a reference of its own when it keeps the message. done is called exactly once, possibly before
    // this returns, at the latest with UNKNOWN by close. The message can be taken by next once done said
    // STORED.
    void (*put)(struct mailbox *mb, struct message *m, uint64_t realtime_ms, mailbox_put_cb *done, void *arg);
    // Whether a message of that size would be stored now: a hint.
    bool (*has_room)(const struct mailbox *mb, size_t len);
    // Takes the next message that has not expired, or NULL. The caller gets a reference; the mailbox keeps
    // one until ack.
    struct message *(*next)(struct mailbox *mb, uint64_t realtime_ms, bool replies_only);
    // Whether next would give one.
    bool (*has_next)(const struct mailbox *mb, bool replies_only);
    // Processed: forget it. Also for one that was out before and is queued again. False: there is no such
    // message.
    bool (*ack)(struct mailbox *mb, const struct id *id);
    // Not processed: queue it again, where it was. False: no such message is out.
    bool (*release)(struct mailbox *mb, const struct id *id);
    void (*release_all)(struct mailbox *mb);
    // Drops what has expired and is not out; cheap when there is nothing.
    void (*expire)(struct mailbox *mb, uint64_t realtime_ms);
    void (*get_stats)(const struct mailbox *mb, struct mailbox_stats *ret);
    // Deletes the mailbox and what is in it.
    void (*close)(struct mailbox *mb);
};

// The class that lives in memory, as long as the process. NULL: no memory.
struct mailbox *mailbox_memory_new(const struct mailbox_limits *limits);
