// What the files of the mailbox of class host share: mailbox_host.c (messages on their way),
// mailbox_attempts.c (what comes back unprocessed) and mailbox_dead.c (dead letters, and what people look at
// and throw away).
#pragma once

#include <sys/queue.h>

#include "common/siphash.h"
#include "common/table.h"
#include "journal/journal.h"
#include "route/kept.h"
#include "route/mailbox.h"
#include "route/seen.h"

#define PRIORITIES  10
#define QUEUE_REPLY PRIORITIES
#define QUEUES      (PRIORITIES + 1)
#define NEVER_MS    UINT64_MAX

enum mail_state { MAIL_PENDING, MAIL_QUEUED, MAIL_OUT, MAIL_DEAD };
enum usage_kind { USAGE_MESSAGES, USAGE_REPLIES, USAGE_DEAD, USAGE_KINDS };

// Somebody who put a message and waits for the journal.
struct put_waiter {
    STAILQ_ENTRY(put_waiter) link;
    mailbox_put_cb *done;
    void *arg;
};
STAILQ_HEAD(put_waiters, put_waiter);

struct mail {
    struct table_node by_id;
    TAILQ_ENTRY(mail) link;       // in the list of its state
    struct host_mailbox *mailbox; // NULL: gone while the journal still writes
    struct message *message;
    uint64_t seq; // of its record
    uint64_t arrival, arrived_ms;
    enum mail_state state;
    bool was_out;
    bool put_off;              // out, and in nobody's hand
    uint32_t attempts, deaths; // that failed; those by the receiver's death
    uint64_t counted;          // the record that says so; 0: none
    uint64_t taken_ms;
    struct put_waiters waiters; // while pending
    uint64_t mark, since_ms;    // of a dead letter: the record that says so
    enum mailbox_reason reason;
};

TAILQ_HEAD(mail_list, mail);

struct usage {
    uint32_t messages;
    uint64_t bytes;
};

struct host_mailbox {
    struct mailbox base;
    struct journal *const *journal;
    char tenant[NAME_CAP], name[NAME_CAP];
    struct mailbox_limits limits;
    struct siphash_key hash_key;
    struct table by_id;
    struct seen *seen;        // made with the first message
    struct mail_list pending; // the journal writes them
    struct mail_list queues[QUEUES];
    struct mail_list out;  // in the order of being taken
    struct mail_list dead; // the oldest first
    uint64_t n_out;
    struct mail *alone; // out, and nothing else is to be taken for a while
    struct usage usage[USAGE_KINDS];
    uint64_t arrivals;
    uint64_t next_expiry_ms; // nothing expires earlier
    uint64_t expired, dead_dropped;
};

static inline struct host_mailbox *host_mailbox_of(const struct mailbox *mb)
{
    return (struct host_mailbox *)(void *)mb; // base is the first member
}

static inline void mail_tell(const struct mail *mail, enum mailbox_event event)
{
    const struct mailbox *mb = &mail->mailbox->base;
    if (mb->watch)
        mb->watch(mb->watch_arg, mail->message, event);
}

struct mail_list *mail_queue_of(struct host_mailbox *mb, const struct message *m);
// Moves it into another state's list, at its end, and counts it there.
void mail_move(struct mail *mail, enum mail_state state);
// Takes it out and frees it; its record is forgotten when it is not needed.
void mail_drop(struct mail *mail, bool forget);
void mail_note_expiry(struct host_mailbox *mb, const struct message *m);

// The oldest message of that id that is, or was, out.
struct mail *mail_find_out(const struct host_mailbox *mb, const struct id *id, bool or_was_out);

// mailbox_attempts.c
// It was taken: perhaps nothing else is to be, for now.
void mail_taken(struct mail *mail, uint64_t realtime_ms);
// True: others may be taken again.
bool mail_end_alone(struct host_mailbox *mb, uint64_t realtime_ms);
// Its count begins anew.
void mail_absolve(struct mail *mail);
bool mailbox_host_release(struct mailbox *mb, const struct id *id, bool failed, uint64_t realtime_ms);
bool mailbox_host_put_off(struct mailbox *mb, const struct id *id, bool failed, uint64_t realtime_ms);
void mailbox_host_release_all(struct mailbox *mb, bool died, uint64_t realtime_ms);

// mailbox_dead.c
// Makes a dead letter of a message. False: the journal takes no note of it now.
bool mail_bury(struct mail *mail, enum mailbox_reason reason, uint64_t realtime_ms);
void mailbox_host_list(const struct mailbox *mb, bool dead, size_t max, mailbox_list_cb *cb, void *arg);
size_t mailbox_host_replay(struct mailbox *mb, const struct id *id);
size_t mailbox_host_purge(struct mailbox *mb, bool dead, const struct id *id);
