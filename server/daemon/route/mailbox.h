// The mailbox interface: where an environment's messages wait until it has processed them. The router owns
// mailboxes and is the only caller; a class of mailbox is one ops table. A put may finish later, for classes
// that write to disk or to a broker; everything else answers at once from what the mailbox knows.
//
// A message is queued, then out (taken by next), then gone (ack) or queued again at its old place (release).
// Order is by priority, then by arrival: it holds per sender and receiver for messages of one priority.
// Replies come before all else, because they can be taken without credit, and have limits of their own,
// because a mailbox that strangers filled must not keep an environment from hearing the answers to its calls.
//
// An attempt at a message has failed when the receiver gives it back, having tried, or is gone with the
// message in hand; attempts_max of them make it a dead letter. When the receiver dies the host does not know
// which message it died of: only the one that has been out the longest counts, for programs take messages in
// order and those behind it only wait in the program's window. A program that works on several at once may
// die of a later one, so what was in hand at half of attempts_max deaths is then out alone, for up to
// MAILBOX_ALONE_MS: what is innocent is acknowledged meanwhile, and what is not dies with nothing else in
// hand. The end of envd, or a stop by an operator, is no attempt. Counts outlive envd: they are written when
// they go up, so a message that is processed at the first attempt costs nothing.
#pragma once

#include "route/message.h"

#define MAILBOX_ALONE_MS 10000u

enum mailbox_outcome {
    MAILBOX_STORED,    // as durable as the class promises
    MAILBOX_DUPLICATE, // it was stored before, within the window
    MAILBOX_FULL,      // or the disk is: it was not stored
    MAILBOX_UNKNOWN,   // it may or may not have been stored
};

typedef void mailbox_put_cb(void *arg, enum mailbox_outcome outcome);

// One for all mailboxes of a router.
struct mailbox_budget {
    uint64_t bytes, bytes_max;
};

struct mailbox_limits {
    uint32_t messages_max; // and as many replies
    uint64_t bytes_max;    // and as much of replies
    uint32_t window;       // ids remembered to find duplicates
    uint32_t attempts_max; // at one message: then it is a dead letter
    uint32_t dead_max;     // dead letters that are kept: then the oldest goes
    struct mailbox_budget *budget;
};

struct mailbox_stats {
    uint64_t messages, bytes; // queued and out
    uint64_t out, dead;
    uint64_t expired;      // dropped since the mailbox was made
    uint64_t dead_dropped; // dead letters that made room for others
};

enum mailbox_reason {               // why a message is a dead letter; on disk: never change
    MAILBOX_RELEASED_TOO_OFTEN = 1, // the last attempt ended so:
    MAILBOX_RECEIVER_DIED = 2,
};

// One message that is there, for people.
struct mailbox_item {
    const struct message *message;
    bool out;            // with the environment now
    uint32_t attempts;   // that failed, since it was replayed
    uint64_t arrived_ms; // 0: not known, an earlier version of envd stored it
    uint64_t since_ms;   // of a dead letter
    enum mailbox_reason reason;
};

typedef void mailbox_list_cb(void *arg, const struct mailbox_item *item);

// What became of a message, for who watches. PUT: it is durable.
enum mailbox_event {
    MAILBOX_PUT,
    MAILBOX_TAKEN,
    MAILBOX_ACKED,
    MAILBOX_RELEASED,
    MAILBOX_EXPIRED,
    MAILBOX_BURIED,
    MAILBOX_REPLAYED,
    MAILBOX_PURGED
};

struct mailbox {
    const struct mailbox_ops *ops;
    void (*watch)(void *arg, const struct message *m, enum mailbox_event event); // or NULL; only looks
    void *watch_arg;
};

struct mailbox_ops {
    // Takes a reference of its own when it keeps the message. done is called exactly once, possibly before
    // this returns, at the latest with UNKNOWN by close. The message can be taken by next once done said
    // STORED. One that is put again meanwhile ends as the first one does.
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
    // Not processed: queue it again, where it was. failed: it was tried; too often makes it a dead letter.
    // False: no such message is out.
    bool (*release)(struct mailbox *mb, const struct id *id, bool failed, uint64_t realtime_ms);
    // Nobody has it in hand, but it is not to be queued yet: it stays out until it is released. False: no
    // such message is out, any more if this was one attempt too many.
    bool (*put_off)(struct mailbox *mb, const struct id *id, bool failed, uint64_t realtime_ms);
    // Everything that is out. died: the receiver did, with what was in hand.
    void (*release_all)(struct mailbox *mb, bool died, uint64_t realtime_ms);
    // Drops what has expired and is not out; cheap when there is nothing. True: there may be something to
    // take that next would not give before.
    bool (*expire)(struct mailbox *mb, uint64_t realtime_ms);
    // The id of a message that it remembers to have had.
    bool (*remembers)(const struct mailbox *mb, uint64_t dedup_key);
    // Calls cb for each message that waits or is out, in order, or for each dead letter, the oldest first; at
    // most max of them.
    void (*list)(const struct mailbox *mb, bool dead, size_t max, mailbox_list_cb *cb, void *arg);
    // Queues a dead letter again, behind what waits; id NULL: all. The number of them.
    size_t (*replay)(struct mailbox *mb, const struct id *id);
    // Forgets what waits and is not out, or dead letters; id NULL: all. The number of them.
    size_t (*purge)(struct mailbox *mb, bool dead, const struct id *id);
    void (*get_stats)(const struct mailbox *mb, struct mailbox_stats *ret);
    // Lets go of it. forget: what is in it, too; otherwise the next envd finds it.
    void (*close)(struct mailbox *mb, bool forget);
};

struct journal;
struct kept_box;

// The class `host`: messages are in memory and in the host's journal. *journal may become NULL later: then
// nothing is stored or forgotten any more. box: what was recovered for it, or NULL; stays the caller's, its
// messages do not. NULL: no memory.
struct mailbox *mailbox_host_new(const struct mailbox_limits *limits, struct journal *const *journal,
                                 const char *tenant, const char *name, struct kept_box *box);
