// The mailbox of class host: a queue per priority and one for replies, what is out, and a table by id, all in
// memory; each message is also a record in the host's journal. A message is put when its record is durable,
// and gone when its record is forgotten. Knows nothing of other environments.
#include "route/mailbox_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "route/kept_box.h"

static bool is_reply(const struct message *m)
{
    return m->kind == MESSAGE_REPLY;
}

struct mail_list *mail_queue_of(struct host_mailbox *mb, const struct message *m)
{
    return &mb->queues[is_reply(m) ? QUEUE_REPLY : m->priority < PRIORITIES ? m->priority : PRIORITIES - 1];
}

static uint64_t hash_id(const struct host_mailbox *mb, const struct id *id)
{
    return siphash(&mb->hash_key, id->bytes, ID_LEN);
}

static struct mail_list *list_of(struct host_mailbox *mb, const struct mail *mail)
{
    struct mail_list *lists[] = {[MAIL_PENDING] = &mb->pending,
                                 [MAIL_QUEUED] = mail_queue_of(mb, mail->message),
                                 [MAIL_OUT] = &mb->out,
                                 [MAIL_DEAD] = &mb->dead};
    return lists[mail->state];
}

static struct usage *usage_of(struct host_mailbox *mb, const struct mail *mail)
{
    return &mb->usage[mail->state == MAIL_DEAD  ? USAGE_DEAD
                      : is_reply(mail->message) ? USAGE_REPLIES
                                                : USAGE_MESSAGES];
}

static void enter(struct host_mailbox *mb, struct mail *mail)
{
    struct usage *u = usage_of(mb, mail);
    TAILQ_INSERT_TAIL(list_of(mb, mail), mail, link);
    u->messages++;
    u->bytes += mail->message->len;
    mb->limits.budget->bytes += mail->message->len;
    mb->n_out += mail->state == MAIL_OUT;
}

static void leave(struct host_mailbox *mb, struct mail *mail)
{
    struct usage *u = usage_of(mb, mail);
    TAILQ_REMOVE(list_of(mb, mail), mail, link);
    u->messages--;
    u->bytes -= mail->message->len;
    mb->limits.budget->bytes -= mail->message->len;
    mb->n_out -= mail->state == MAIL_OUT;
    if (mb->alone == mail)
        mb->alone = NULL;
}

void mail_move(struct mail *mail, enum mail_state state)
{
    leave(mail->mailbox, mail);
    mail->state = state;
    enter(mail->mailbox, mail);
}

void mail_drop(struct mail *mail, bool forget)
{
    struct host_mailbox *mb = mail->mailbox;
    leave(mb, mail);
    table_remove(&mb->by_id, &mail->by_id);
    if (forget && *mb->journal) {
        const uint64_t records[] = {mail->seq, mail->mark, mail->counted};
        for (size_t i = 0; i < sizeof records / sizeof records[0]; i++)
            if (records[i])
                journal_forget(*mb->journal, records[i]);
    }
    message_unref(mail->message);
    free(mail);
}

void mail_note_expiry(struct host_mailbox *mb, const struct message *m)
{
    if (m->expires_ms != 0 && m->expires_ms < mb->next_expiry_ms)
        mb->next_expiry_ms = m->expires_ms;
}

static void drop_expired(struct host_mailbox *mb, uint64_t realtime_ms)
{
    if (realtime_ms < mb->next_expiry_ms)
        return;
    mb->next_expiry_ms = NEVER_MS;
    for (size_t i = 0; i < QUEUES; i++) {
        for (struct mail *mail = TAILQ_FIRST(&mb->queues[i]), *next; mail; mail = next) {
            next = TAILQ_NEXT(mail, link);
            if (message_expired(mail->message, realtime_ms)) {
                mail_tell(mail, MAILBOX_EXPIRED);
                mail_drop(mail, true);
                mb->expired++;
            } else {
                mail_note_expiry(mb, mail->message);
            }
        }
    }
}

static bool host_expire(struct mailbox *base, uint64_t realtime_ms)
{
    drop_expired(host_mailbox_of(base), realtime_ms);
    return mail_end_alone(host_mailbox_of(base), realtime_ms);
}

static bool fits(const struct host_mailbox *mb, size_t len, bool reply)
{
    const struct usage *u = &mb->usage[reply ? USAGE_REPLIES : USAGE_MESSAGES];
    const struct mailbox_budget *budget = mb->limits.budget;
    return u->messages < mb->limits.messages_max && u->bytes + len <= mb->limits.bytes_max &&
           budget->bytes + len <= budget->bytes_max;
}

static bool host_has_room(const struct mailbox *base, size_t len)
{
    return fits(host_mailbox_of(base), len, false);
}

static bool host_remembers(const struct mailbox *base, uint64_t dedup_key)
{
    const struct host_mailbox *mb = host_mailbox_of(base);
    return mb->seen && seen_has(mb->seen, dedup_key);
}

// In the mailbox, however long ago it came.
static struct mail *find_same(const struct host_mailbox *mb, const struct message *m)
{
    for (struct table_node *n = table_first(&mb->by_id, hash_id(mb, &m->id)); n; n = table_next(n)) {
        struct mail *mail = table_entry(n, struct mail, by_id);
        if (mail->message->dedup_key == m->dedup_key)
            return mail;
    }
    return NULL;
}

// --- putting ---

static void tell(struct put_waiters *waiters, enum mailbox_outcome outcome)
{
    struct put_waiter *w;
    while ((w = STAILQ_FIRST(waiters))) {
        STAILQ_REMOVE_HEAD(waiters, link);
        w->done(w->arg, outcome);
        free(w);
        if (outcome == MAILBOX_STORED)
            outcome = MAILBOX_DUPLICATE; // for those who put it again meanwhile
    }
}

static void on_durable(void *arg, int rc)
{
    struct mail *mail = arg;
    struct host_mailbox *mb = mail->mailbox;
    struct put_waiters waiters = STAILQ_HEAD_INITIALIZER(waiters);
    if (!mb) { // closed meanwhile, and its waiters told
        message_unref(mail->message);
        free(mail);
        return;
    }
    STAILQ_CONCAT(&waiters, &mail->waiters);
    if (rc == 0) {
        mail->arrival = mb->arrivals++;
        mail_move(mail, MAIL_QUEUED);
        mail_tell(mail, MAILBOX_PUT);
        mail_note_expiry(mb, mail->message);
        if (!seen_has(mb->seen, mail->message->dedup_key))
            seen_add(mb->seen, mail->message->dedup_key);
    } else {
        mail_drop(mail, false);
    }
    tell(&waiters, rc == 0 ? MAILBOX_STORED : rc == -EIO ? MAILBOX_UNKNOWN : MAILBOX_FULL);
}

static struct mail *add_mail(struct host_mailbox *mb, struct message *m, enum mail_state state)
{
    struct mail *mail = calloc(1, sizeof *mail);
    if (!mail)
        return NULL;
    *mail = (struct mail){.mailbox = mb, .message = message_ref(m), .state = state};
    STAILQ_INIT(&mail->waiters);
    enter(mb, mail);
    table_insert(&mb->by_id, &mail->by_id, hash_id(mb, &m->id));
    return mail;
}

static int append(struct host_mailbox *mb, struct mail *mail)
{
    uint8_t head[KEPT_HEAD_CAP];
    struct kept_message kept = {.dedup_key = mail->message->dedup_key, .arrived_ms = mail->arrived_ms};
    snprintf(kept.tenant, sizeof kept.tenant, "%s", mb->tenant);
    snprintf(kept.name, sizeof kept.name, "%s", mb->name);
    const struct iovec parts[] = {{head, kept_write_message(head, &kept)},
                                  {mail->message->bytes, mail->message->len}};
    return *mb->journal ? journal_append(*mb->journal, KEPT_MESSAGE, parts, 2, on_durable, mail, &mail->seq)
                        : -EIO;
}

// 0: w waits. -EEXIST: it is known. Otherwise it cannot be stored.
static int store(struct host_mailbox *mb, struct message *m, uint64_t realtime_ms, struct put_waiter *w)
{
    struct mail *mail = find_same(mb, m);
    if (!mb->seen && !(mb->seen = seen_new(mb->limits.window)))
        return -ENOMEM;
    if (mail && mail->state == MAIL_PENDING) {
        STAILQ_INSERT_TAIL(&mail->waiters, w, link);
        return 0;
    }
    if (mail || seen_has(mb->seen, m->dedup_key))
        return -EEXIST;
    if (!fits(mb, m->len, is_reply(m)))
        drop_expired(mb, realtime_ms);
    mail = fits(mb, m->len, is_reply(m)) ? add_mail(mb, m, MAIL_PENDING) : NULL;
    if (!mail)
        return -ENOBUFS;
    mail->arrived_ms = realtime_ms;
    int rc = append(mb, mail);
    if (rc < 0)
        mail_drop(mail, false);
    else
        STAILQ_INSERT_TAIL(&mail->waiters, w, link);
    return rc;
}

static void host_put(struct mailbox *base, struct message *m, uint64_t realtime_ms, mailbox_put_cb *done,
                     void *arg)
{
    struct put_waiter *w = malloc(sizeof *w);
    if (w)
        *w = (struct put_waiter){.done = done, .arg = arg};
    int rc = w ? store(host_mailbox_of(base), m, realtime_ms, w) : -ENOMEM;
    if (rc == 0)
        return;
    free(w);
    done(arg, rc == -EEXIST ? MAILBOX_DUPLICATE : MAILBOX_FULL);
}

// --- taking ---

static struct mail *first_queued(const struct host_mailbox *mb, bool replies_only)
{
    struct mail *mail = TAILQ_FIRST(&mb->queues[QUEUE_REPLY]);
    for (size_t i = PRIORITIES; !mail && !replies_only && !mb->alone && i > 0; i--)
        mail = TAILQ_FIRST(&mb->queues[i - 1]);
    return mail;
}

static struct message *host_next(struct mailbox *base, uint64_t realtime_ms, bool replies_only)
{
    struct host_mailbox *mb = host_mailbox_of(base);
    struct mail *mail;
    while ((mail = first_queued(mb, replies_only)) && message_expired(mail->message, realtime_ms)) {
        mail_tell(mail, MAILBOX_EXPIRED);
        mail_drop(mail, true);
        mb->expired++;
    }
    if (!mail)
        return NULL;
    mail_move(mail, MAIL_OUT);
    mail_taken(mail, realtime_ms);
    mail_tell(mail, MAILBOX_TAKEN);
    return message_ref(mail->message);
}

static bool host_has_next(const struct mailbox *base, bool replies_only)
{
    return first_queued(host_mailbox_of(base), replies_only) != NULL;
}

// Different senders can use one id: then it is the receiver who cannot tell them apart, and each gets its
// turn.
struct mail *mail_find_out(const struct host_mailbox *mb, const struct id *id, bool or_was_out)
{
    struct mail *oldest = NULL;
    for (struct table_node *n = table_first(&mb->by_id, hash_id(mb, id)); n; n = table_next(n)) {
        struct mail *mail = table_entry(n, struct mail, by_id);
        bool out = mail->state == MAIL_OUT, queued_again = mail->state == MAIL_QUEUED && mail->was_out;
        if (!(out || (or_was_out && queued_again)) || !id_equals(&mail->message->id, id))
            continue;
        bool oldest_out = oldest && oldest->state == MAIL_OUT;
        if (!oldest || out > oldest_out || (out == oldest_out && mail->arrival < oldest->arrival))
            oldest = mail;
    }
    return oldest;
}

static bool host_ack(struct mailbox *base, const struct id *id)
{
    struct mail *mail = mail_find_out(host_mailbox_of(base), id, true);
    if (mail) {
        mail_tell(mail, MAILBOX_ACKED);
        mail_drop(mail, true);
    }
    return mail != NULL;
}

static void host_get_stats(const struct mailbox *base, struct mailbox_stats *ret)
{
    const struct host_mailbox *mb = host_mailbox_of(base);
    *ret = (struct mailbox_stats){
        .messages = (uint64_t)mb->usage[USAGE_MESSAGES].messages + mb->usage[USAGE_REPLIES].messages,
        .bytes = mb->usage[USAGE_MESSAGES].bytes + mb->usage[USAGE_REPLIES].bytes,
        .out = mb->n_out,
        .dead = mb->usage[USAGE_DEAD].messages,
        .expired = mb->expired,
        .dead_dropped = mb->dead_dropped,
    };
}

// --- coming and going ---

static void end_pending(struct mail *mail, bool forget)
{
    struct host_mailbox *mb = mail->mailbox;
    struct put_waiters waiters = STAILQ_HEAD_INITIALIZER(waiters);
    STAILQ_CONCAT(&waiters, &mail->waiters);
    leave(mb, mail);
    table_remove(&mb->by_id, &mail->by_id);
    mail->mailbox = NULL; // on_durable() frees it
    if (forget && *mb->journal)
        journal_forget(*mb->journal, mail->seq);
    tell(&waiters, MAILBOX_UNKNOWN);
}

static void host_close(struct mailbox *base, bool forget)
{
    struct host_mailbox *mb = host_mailbox_of(base);
    struct mail *mail;
    // The analyzer does not see that what was dropped is not the first any more.
    // NOLINTBEGIN(clang-analyzer-unix.Malloc)
    while ((mail = TAILQ_FIRST(&mb->pending)))
        end_pending(mail, forget);
    while ((mail = TAILQ_FIRST(&mb->out)))
        mail_drop(mail, forget);
    while ((mail = TAILQ_FIRST(&mb->dead)))
        mail_drop(mail, forget);
    for (size_t i = 0; i < QUEUES; i++)
        while ((mail = TAILQ_FIRST(&mb->queues[i])))
            mail_drop(mail, forget);
    // NOLINTEND(clang-analyzer-unix.Malloc)
    seen_free(mb->seen);
    table_done(&mb->by_id);
    free(mb);
}

static int by_arrival(const void *a, const void *b)
{
    const struct kept_key *x = a, *y = b;
    return (x->arrival > y->arrival) - (x->arrival < y->arrival);
}

static void take_window(struct host_mailbox *mb, struct kept_key_list *keys)
{
    if (keys->n == 0 || !(mb->seen = seen_new(mb->limits.window)))
        return;
    qsort(keys->keys, keys->n, sizeof *keys->keys, by_arrival);
    for (size_t i = 0; i < keys->n; i++)
        if (!seen_has(mb->seen, keys->keys[i].key))
            seen_add(mb->seen, keys->keys[i].key);
}

// What was accepted is kept, whatever the limits are now.
static void take_mail(struct host_mailbox *mb, struct kept_mail *kept)
{
    struct message *m = take_ptr(kept->message);
    // The same message twice: its first outcome was not known, and it was sent again.
    struct mail *mail = find_same(mb, m) ? NULL : add_mail(mb, m, kept->mark ? MAIL_DEAD : MAIL_QUEUED);
    message_unref(m);
    if (!mail) {
        const uint64_t records[] = {kept->seq, kept->mark, kept->counted};
        for (size_t i = 0; i < sizeof records / sizeof records[0]; i++)
            if (records[i])
                journal_forget(*mb->journal, records[i]);
        return;
    }
    mail->seq = kept->seq;
    mail->mark = kept->mark;
    mail->since_ms = kept->since_ms;
    mail->reason = (enum mailbox_reason)kept->reason;
    mail->arrived_ms = kept->arrived_ms;
    mail->counted = kept->counted;
    mail->attempts = kept->attempts;
    mail->deaths = kept->deaths;
    mail->arrival = mb->arrivals++;
    mail->was_out = true; // perhaps: an acknowledgement of what envd had given out before is honoured
    mail_note_expiry(mb, mail->message);
}

static const struct mailbox_ops host_ops = {
    .put = host_put,
    .has_room = host_has_room,
    .next = host_next,
    .has_next = host_has_next,
    .ack = host_ack,
    .release = mailbox_host_release,
    .put_off = mailbox_host_put_off,
    .release_all = mailbox_host_release_all,
    .expire = host_expire,
    .remembers = host_remembers,
    .list = mailbox_host_list,
    .replay = mailbox_host_replay,
    .purge = mailbox_host_purge,
    .get_stats = host_get_stats,
    .close = host_close,
};

struct mailbox *mailbox_host_new(const struct mailbox_limits *limits, struct journal *const *journal,
                                 const char *tenant, const char *name, struct kept_box *box)
{
    struct host_mailbox *mb = calloc(1, sizeof *mb);
    if (!mb)
        return NULL;
    mb->base.ops = &host_ops;
    mb->journal = journal;
    mb->limits = *limits;
    snprintf(mb->tenant, sizeof mb->tenant, "%s", tenant);
    snprintf(mb->name, sizeof mb->name, "%s", name);
    mb->hash_key = siphash_key_random();
    mb->next_expiry_ms = NEVER_MS;
    for (size_t i = 0; i < QUEUES; i++)
        TAILQ_INIT(&mb->queues[i]);
    TAILQ_INIT(&mb->pending);
    TAILQ_INIT(&mb->out);
    TAILQ_INIT(&mb->dead);
    if (table_init(&mb->by_id, 0) < 0) {
        free(mb);
        return NULL;
    }
    struct kept_mail *kept;
    if (box) {
        take_window(mb, &box->windows[KEPT_WINDOW_MESSAGES]);
        TAILQ_FOREACH(kept, &box->mails, link)
        {
            take_mail(mb, kept);
        }
    }
    return &mb->base;
}
