// Dead letters of a mailbox, and what people do with a mailbox: look at it, replay, throw away. A dead letter
// is a message's record and another one that says since when and why.
#include "route/mailbox_internal.h"

static bool has_id(const struct mail *mail, const struct id *id)
{
    return !id || id_equals(&mail->message->id, id);
}

static void drop_oldest(struct host_mailbox *mb)
{
    while (mb->usage[USAGE_DEAD].messages > mb->limits.dead_max ||
           mb->usage[USAGE_DEAD].bytes > mb->limits.bytes_max) {
        mail_drop(TAILQ_FIRST(&mb->dead), true);
        mb->dead_dropped++;
    }
}

bool mail_bury(struct mail *mail, enum mailbox_reason reason, uint64_t realtime_ms)
{
    struct host_mailbox *mb = mail->mailbox;
    const struct kept_dead kept = {.seq = mail->seq, .since_ms = realtime_ms, .reason = (uint8_t)reason};
    uint8_t bytes[KEPT_SMALL_CAP];
    const struct iovec part = {bytes, kept_write_dead(bytes, &kept)};
    if (!*mb->journal || journal_append(*mb->journal, KEPT_DEAD, &part, 1, NULL, NULL, &mail->mark) < 0)
        return false;
    mail->since_ms = realtime_ms;
    mail->reason = reason;
    mail_move(mail, MAIL_DEAD);
    mail_tell(mail, MAILBOX_BURIED);
    drop_oldest(mb);
    return true;
}

static void show(const struct mail *mail, mailbox_list_cb *cb, void *arg)
{
    const struct mailbox_item item = {
        .message = mail->message,
        .out = mail->state == MAIL_OUT,
        .attempts = mail->attempts,
        .arrived_ms = mail->arrived_ms,
        .since_ms = mail->since_ms,
        .reason = mail->reason,
    };
    cb(arg, &item);
}

static size_t show_list(const struct mail_list *list, size_t max, mailbox_list_cb *cb, void *arg)
{
    const struct mail *mail;
    size_t n = 0;
    TAILQ_FOREACH(mail, list, link)
    {
        if (n >= max)
            break;
        show(mail, cb, arg);
        n++;
    }
    return n;
}

void mailbox_host_list(const struct mailbox *base, bool dead, size_t max, mailbox_list_cb *cb, void *arg)
{
    const struct host_mailbox *mb = host_mailbox_of(base);
    if (dead) {
        show_list(&mb->dead, max, cb, arg);
        return;
    }
    size_t n = show_list(&mb->out, max, cb, arg);
    for (size_t i = QUEUES; i > 0; i--) // replies, then by priority: the order in which they are taken
        n += show_list(&mb->queues[i - 1], max - n, cb, arg);
}

size_t mailbox_host_replay(struct mailbox *base, const struct id *id)
{
    struct host_mailbox *mb = host_mailbox_of(base);
    size_t n = 0;
    for (struct mail *mail = TAILQ_FIRST(&mb->dead), *next; mail; mail = next) {
        next = TAILQ_NEXT(mail, link);
        if (!has_id(mail, id))
            continue;
        if (*mb->journal)
            journal_forget(*mb->journal, mail->mark);
        mail->mark = 0;
        mail_absolve(mail);
        mail->was_out = false;
        mail->arrival = mb->arrivals++;
        mail_move(mail, MAIL_QUEUED);
        mail_tell(mail, MAILBOX_REPLAYED);
        mail_note_expiry(mb, mail->message);
        n++;
    }
    return n;
}

static size_t purge_list(struct mail_list *list, const struct id *id)
{
    size_t n = 0;
    for (struct mail *mail = TAILQ_FIRST(list), *next; mail; mail = next) {
        next = TAILQ_NEXT(mail, link);
        if (!has_id(mail, id))
            continue;
        mail_tell(mail, MAILBOX_PURGED);
        mail_drop(mail, true);
        n++;
    }
    return n;
}

size_t mailbox_host_purge(struct mailbox *base, bool dead, const struct id *id)
{
    struct host_mailbox *mb = host_mailbox_of(base);
    if (dead)
        return purge_list(&mb->dead, id);
    size_t n = 0;
    for (size_t i = 0; i < QUEUES; i++)
        n += purge_list(&mb->queues[i], id);
    return n;
}
