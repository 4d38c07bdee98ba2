// What comes back unprocessed: given back, put off, or in hand when the receiver died. Counts the attempts,
// as mailbox.h says which, and keeps the count in the journal. Called as mailbox_ops, and by mailbox_host.c.
#include "route/mailbox_internal.h"

void mail_taken(struct mail *mail, uint64_t realtime_ms)
{
    struct host_mailbox *mb = mail->mailbox;
    mail->was_out = true;
    mail->put_off = false;
    mail->taken_ms = realtime_ms;
    if (mail->deaths > 0 && mail->deaths >= mb->limits.attempts_max / 2)
        mb->alone = mail;
}

bool mail_end_alone(struct host_mailbox *mb, uint64_t realtime_ms)
{
    // A clock that was set back ends it, too.
    if (!mb->alone || realtime_ms - mb->alone->taken_ms < MAILBOX_ALONE_MS)
        return false;
    mb->alone = NULL;
    return true;
}

// Instead of the record before. Without a working journal the count is of this envd only.
static void keep_count(struct mail *mail)
{
    struct host_mailbox *mb = mail->mailbox;
    const struct kept_attempts kept = {.seq = mail->seq, .attempts = mail->attempts, .deaths = mail->deaths};
    uint64_t before = mail->counted;
    uint8_t bytes[KEPT_SMALL_CAP];
    const struct iovec part = {bytes, kept_write_attempts(bytes, &kept)};
    if (*mb->journal &&
        journal_append(*mb->journal, KEPT_ATTEMPTS, &part, 1, NULL, NULL, &mail->counted) == 0 && before)
        journal_forget(*mb->journal, before);
}

void mail_absolve(struct mail *mail)
{
    if (mail->counted && *mail->mailbox->journal)
        journal_forget(*mail->mailbox->journal, mail->counted);
    mail->counted = 0;
    mail->attempts = mail->deaths = 0;
}

// True: it was the last one, the message is a dead letter.
static bool fail_attempt(struct mail *mail, bool died, uint64_t realtime_ms)
{
    mail->attempts++;
    mail->deaths += died;
    keep_count(mail);
    return mail->attempts >= mail->mailbox->limits.attempts_max &&
           mail_bury(mail, died ? MAILBOX_RECEIVER_DIED : MAILBOX_RELEASED_TOO_OFTEN, realtime_ms);
}

// What comes back is older than what waits, apart from others that came back before: the walk is short.
static void requeue(struct mail *mail)
{
    struct host_mailbox *mb = mail->mailbox;
    struct mail_list *queue = mail_queue_of(mb, mail->message);
    mail_move(mail, MAIL_QUEUED);
    TAILQ_REMOVE(queue, mail, link);
    struct mail *later = TAILQ_FIRST(queue);
    while (later && later->arrival < mail->arrival)
        later = TAILQ_NEXT(later, link);
    if (later)
        TAILQ_INSERT_BEFORE(later, mail, link);
    else
        TAILQ_INSERT_TAIL(queue, mail, link);
    mail_note_expiry(mb, mail->message); // it may have expired while it was out, unseen
}

bool mailbox_host_release(struct mailbox *base, const struct id *id, bool failed, uint64_t realtime_ms)
{
    struct mail *mail = mail_find_out(host_mailbox_of(base), id, false);
    if (!mail)
        return false;
    mail_tell(mail, MAILBOX_RELEASED);
    if (!failed || !fail_attempt(mail, false, realtime_ms))
        requeue(mail);
    return true;
}

bool mailbox_host_put_off(struct mailbox *base, const struct id *id, bool failed, uint64_t realtime_ms)
{
    struct host_mailbox *mb = host_mailbox_of(base);
    struct mail *mail = mail_find_out(mb, id, false);
    if (!mail)
        return false;
    if (failed && mail->attempts + 1 >= mb->limits.attempts_max)
        mail_tell(mail, MAILBOX_RELEASED); // what is only put off says so when it comes back
    if (failed && fail_attempt(mail, false, realtime_ms))
        return false;
    mail->put_off = true;
    if (mb->alone == mail)
        mb->alone = NULL;
    return true;
}

static struct mail *longest_in_hand(const struct host_mailbox *mb)
{
    struct mail *mail;
    TAILQ_FOREACH(mail, &mb->out, link)
    {
        if (!mail->put_off)
            break;
    }
    return mail;
}

void mailbox_host_release_all(struct mailbox *base, bool died, uint64_t realtime_ms)
{
    struct host_mailbox *mb = host_mailbox_of(base);
    struct mail *suspect = died ? longest_in_hand(mb) : NULL, *mail;
    while ((mail = TAILQ_LAST(&mb->out, mail_list))) {
        mail_tell(mail, MAILBOX_RELEASED);
        if (mail != suspect || !fail_attempt(mail, true, realtime_ms))
            requeue(mail);
    }
}
