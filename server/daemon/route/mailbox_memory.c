// The mailbox that lives in memory: a queue per priority and one for replies, what is out, and a table by id.
#include <stdlib.h>
#include <sys/queue.h>

#include "common/siphash.h"
#include "common/table.h"
#include "route/mailbox.h"
#include "route/seen.h"

#define PRIORITIES  10
#define QUEUE_REPLY PRIORITIES
#define QUEUES      (PRIORITIES + 1)
#define NEVER_MS    UINT64_MAX

struct mail {
    struct table_node by_id;
    TAILQ_ENTRY(mail) link; // in its queue, or in the list of what is out
    struct message *message;
    uint64_t arrival;
    bool out;
    bool was_out;
};

TAILQ_HEAD(mail_list, mail);

struct usage {
    uint32_t messages;
    uint64_t bytes;
};

struct memory_mailbox {
    struct mailbox base;
    struct mailbox_limits limits;
    struct siphash_key hash_key;
    struct table by_id;
    struct seen *seen; // made with the first message
    struct mail_list queues[QUEUES];
    struct mail_list out; // in the order of being taken
    uint64_t n_out;
    struct usage usage[2]; // of messages, of replies
    uint64_t arrivals;
    uint64_t next_expiry_ms; // nothing expires earlier
    uint64_t expired;
};

static struct memory_mailbox *memory_mailbox_of(const struct mailbox *mb)
{
    return (struct memory_mailbox *)(void *)mb; // base is the first member
}

static bool is_reply(const struct message *m)
{
    return m->kind == MESSAGE_REPLY;
}

static struct mail_list *queue_of(struct memory_mailbox *mb, const struct message *m)
{
    return &mb->queues[is_reply(m) ? QUEUE_REPLY : m->priority < PRIORITIES ? m->priority : PRIORITIES - 1];
}

static uint64_t hash_id(const struct memory_mailbox *mb, const struct id *id)
{
    return siphash(&mb->hash_key, id->bytes, ID_LEN);
}

static void drop(struct memory_mailbox *mb, struct mail *mail)
{
    struct message *m = mail->message;
    TAILQ_REMOVE(mail->out ? &mb->out : queue_of(mb, m), mail, link);
    mb->n_out -= mail->out;
    table_remove(&mb->by_id, &mail->by_id);
    mb->usage[is_reply(m)].messages--;
    mb->usage[is_reply(m)].bytes -= m->len;
    mb->limits.budget->bytes -= m->len;
    message_unref(m);
    free(mail);
}

static void memory_expire(struct mailbox *base, uint64_t realtime_ms)
{
    struct memory_mailbox *mb = memory_mailbox_of(base);
    if (realtime_ms < mb->next_expiry_ms)
        return;
    mb->next_expiry_ms = NEVER_MS;
    for (size_t i = 0; i < QUEUES; i++) {
        for (struct mail *mail = TAILQ_FIRST(&mb->queues[i]), *next; mail; mail = next) {
            next = TAILQ_NEXT(mail, link);
            uint64_t expires_ms = mail->message->expires_ms;
            if (message_expired(mail->message, realtime_ms)) {
                drop(mb, mail);
                mb->expired++;
            } else if (expires_ms != 0 && expires_ms < mb->next_expiry_ms) {
                mb->next_expiry_ms = expires_ms;
            }
        }
    }
}

static bool fits(const struct memory_mailbox *mb, size_t len, bool reply)
{
    const struct usage *u = &mb->usage[reply];
    const struct mailbox_budget *budget = mb->limits.budget;
    return u->messages < mb->limits.messages_max && u->bytes + len <= mb->limits.bytes_max &&
           budget->bytes + len <= budget->bytes_max;
}

static bool memory_has_room(const struct mailbox *base, size_t len)
{
    return fits(memory_mailbox_of(base), len, false);
}

// In the mailbox, however long ago it came.
static bool holds(const struct memory_mailbox *mb, const struct message *m, uint64_t hash)
{
    for (struct table_node *n = table_first(&mb->by_id, hash); n; n = table_next(n))
        if (table_entry(n, struct mail, by_id)->message->dedup_key == m->dedup_key)
            return true;
    return false;
}

static enum mailbox_outcome store(struct memory_mailbox *mb, struct message *m, uint64_t realtime_ms)
{
    uint64_t hash = hash_id(mb, &m->id);
    if (!mb->seen && !(mb->seen = seen_new(mb->limits.window)))
        return MAILBOX_FULL;
    if (seen_has(mb->seen, m->dedup_key) || holds(mb, m, hash))
        return MAILBOX_DUPLICATE;
    if (!fits(mb, m->len, is_reply(m)))
        memory_expire(&mb->base, realtime_ms);
    struct mail *mail = fits(mb, m->len, is_reply(m)) ? calloc(1, sizeof *mail) : NULL;
    if (!mail)
        return MAILBOX_FULL;
    mail->message = message_ref(m);
    mail->arrival = mb->arrivals++;
    TAILQ_INSERT_TAIL(queue_of(mb, m), mail, link);
    table_insert(&mb->by_id, &mail->by_id, hash);
    seen_add(mb->seen, m->dedup_key);
    mb->usage[is_reply(m)].messages++;
    mb->usage[is_reply(m)].bytes += m->len;
    mb->limits.budget->bytes += m->len;
    if (m->expires_ms != 0 && m->expires_ms < mb->next_expiry_ms)
        mb->next_expiry_ms = m->expires_ms;
    return MAILBOX_STORED;
}

static void memory_put(struct mailbox *base, struct message *m, uint64_t realtime_ms, mailbox_put_cb *done,
                       void *arg)
{
    done(arg, store(memory_mailbox_of(base), m, realtime_ms));
}

static struct mail *first_queued(const struct memory_mailbox *mb, bool replies_only)
{
    struct mail *mail = TAILQ_FIRST(&mb->queues[QUEUE_REPLY]);
    for (size_t i = PRIORITIES; !mail && !replies_only && i > 0; i--)
        mail = TAILQ_FIRST(&mb->queues[i - 1]);
    return mail;
}

static struct message *memory_next(struct mailbox *base, uint64_t realtime_ms, bool replies_only)
{
    struct memory_mailbox *mb = memory_mailbox_of(base);
    struct mail *mail;
    while ((mail = first_queued(mb, replies_only)) && message_expired(mail->message, realtime_ms)) {
        drop(mb, mail);
        mb->expired++;
    }
    if (!mail)
        return NULL;
    TAILQ_REMOVE(queue_of(mb, mail->message), mail, link);
    TAILQ_INSERT_TAIL(&mb->out, mail, link);
    mb->n_out++;
    mail->out = mail->was_out = true;
    return message_ref(mail->message);
}

static bool memory_has_next(const struct mailbox *base, bool replies_only)
{
    return first_queued(memory_mailbox_of(base), replies_only) != NULL;
}

// The oldest message of that id that is, or was, out. Different senders can use one id: then it is the
// receiver who cannot tell them apart, and each gets its turn.
static struct mail *find_out(const struct memory_mailbox *mb, const struct id *id, bool or_was_out)
{
    struct mail *oldest = NULL;
    for (struct table_node *n = table_first(&mb->by_id, hash_id(mb, id)); n; n = table_next(n)) {
        struct mail *mail = table_entry(n, struct mail, by_id);
        if (!(mail->out || (or_was_out && mail->was_out)) || !id_equals(&mail->message->id, id))
            continue;
        if (!oldest || mail->out > oldest->out ||
            (mail->out == oldest->out && mail->arrival < oldest->arrival))
            oldest = mail;
    }
    return oldest;
}

static bool memory_ack(struct mailbox *base, const struct id *id)
{
    struct memory_mailbox *mb = memory_mailbox_of(base);
    struct mail *mail = find_out(mb, id, true);
    if (mail)
        drop(mb, mail);
    return mail != NULL;
}

// What comes back is older than what waits, apart from others that came back before: the walk is short.
static void requeue(struct memory_mailbox *mb, struct mail *mail)
{
    struct mail_list *queue = queue_of(mb, mail->message);
    TAILQ_REMOVE(&mb->out, mail, link);
    mb->n_out--;
    mail->out = false;
    struct mail *later = TAILQ_FIRST(queue);
    while (later && later->arrival < mail->arrival)
        later = TAILQ_NEXT(later, link);
    if (later)
        TAILQ_INSERT_BEFORE(later, mail, link);
    else
        TAILQ_INSERT_TAIL(queue, mail, link);
    // It may have expired while it was out, unseen by memory_expire().
    uint64_t expires_ms = mail->message->expires_ms;
    if (expires_ms != 0 && expires_ms < mb->next_expiry_ms)
        mb->next_expiry_ms = expires_ms;
}

static bool memory_release(struct mailbox *base, const struct id *id)
{
    struct memory_mailbox *mb = memory_mailbox_of(base);
    struct mail *mail = find_out(mb, id, false);
    if (mail)
        requeue(mb, mail);
    return mail != NULL;
}

static void memory_release_all(struct mailbox *base)
{
    struct memory_mailbox *mb = memory_mailbox_of(base);
    struct mail *mail;
    while ((mail = TAILQ_LAST(&mb->out, mail_list)))
        requeue(mb, mail);
}

static void memory_get_stats(const struct mailbox *base, struct mailbox_stats *ret)
{
    const struct memory_mailbox *mb = memory_mailbox_of(base);
    *ret = (struct mailbox_stats){
        .messages = (uint64_t)mb->usage[0].messages + mb->usage[1].messages,
        .bytes = mb->usage[0].bytes + mb->usage[1].bytes,
        .out = mb->n_out,
        .expired = mb->expired,
    };
}

static void memory_close(struct mailbox *base)
{
    struct memory_mailbox *mb = memory_mailbox_of(base);
    memory_release_all(base);
    for (size_t i = 0; i < QUEUES; i++)
        while (!TAILQ_EMPTY(&mb->queues[i]))
            drop(mb, TAILQ_FIRST(&mb->queues[i]));
    seen_free(mb->seen);
    table_done(&mb->by_id);
    free(mb);
}

static const struct mailbox_ops memory_ops = {
    .put = memory_put,
    .has_room = memory_has_room,
    .next = memory_next,
    .has_next = memory_has_next,
    .ack = memory_ack,
    .release = memory_release,
    .release_all = memory_release_all,
    .expire = memory_expire,
    .get_stats = memory_get_stats,
    .close = memory_close,
};

struct mailbox *mailbox_memory_new(const struct mailbox_limits *limits)
{
    struct memory_mailbox *mb = calloc(1, sizeof *mb);
    if (!mb)
        return NULL;
    mb->base.ops = &memory_ops;
    mb->limits = *limits;
    mb->hash_key = siphash_key_random();
    mb->next_expiry_ms = NEVER_MS;
    for (size_t i = 0; i < QUEUES; i++)
        TAILQ_INIT(&mb->queues[i]);
    TAILQ_INIT(&mb->out);
    if (table_init(&mb->by_id, 0) == 0)
        return &mb->base;
    free(mb);
    return NULL;
}
