// Reply capabilities and replies in the journal: written while they last, and made again when envd starts.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "route/durable_internal.h"

void durable_keep_reply(struct durable *d, const char *tenant, const char *name, uint64_t dedup_key)
{
    struct kept_keys keys = {.window = KEPT_WINDOW_REPLIES, .n = 1};
    if (!d || !d->journal)
        return;
    snprintf(keys.tenant, sizeof keys.tenant, "%s", tenant);
    snprintf(keys.name, sizeof keys.name, "%s", name);
    keys.keys[0].key = dedup_key; // its arrival is that of the record
    if (durable_append_keys(d, &keys) < 0)
        durable_keep_key_later(d, KEPT_WINDOW_REPLIES, tenant, name, dedup_key);
}

static void set_far(struct kept_call *k, const struct call_far *far)
{
    k->far = true;
    k->caller = far->address;
    snprintf(k->host, sizeof k->host, "%s", far->host);
    snprintf(k->reply_to, sizeof k->reply_to, "%s", far->reply_to ? far->reply_to : "");
    snprintf(k->correlation, sizeof k->correlation, "%s", far->correlation ? far->correlation : "");
}

static struct kept_call describe(const struct call *call)
{
    struct kept_call k = {.id = call->id, .deadline_ms = call->deadline_ms, .called = call->called};
    if (call->far) {
        set_far(&k, call->far);
    } else {
        const struct environment *e = call->caller;
        snprintf(k.caller.tenant, sizeof k.caller.tenant, "%s", e ? e->tenant : NAME_HOST);
        snprintf(k.caller.name, sizeof k.caller.name, "%s", e ? e->name : ROUTER_OPERATOR);
    }
    if (call->callee) {
        snprintf(k.callee_tenant, sizeof k.callee_tenant, "%s", call->callee->tenant);
        snprintf(k.callee_name, sizeof k.callee_name, "%s", call->callee->name);
    }
    return k;
}

void durable_keep_call(struct durable *d, struct call *call)
{
    uint8_t bytes[KEPT_CALL_CAP];
    uint64_t before = call->kept_seq;
    if (!d || !d->journal)
        return;
    const struct kept_call k = describe(call);
    const struct iovec part = {bytes, kept_write_call(bytes, &k)};
    if (part.iov_len == 0 || journal_append(d->journal, KEPT_CALL, &part, 1, NULL, NULL, &call->kept_seq) < 0)
        return; // its message will not be written either
    if (before)
        journal_forget(d->journal, before);
}

void durable_forget_call(struct durable *d, const struct call *call)
{
    if (d && d->journal && call->kept_seq)
        journal_forget(d->journal, call->kept_seq);
    if (d && d->journal && call->reply_seq)
        journal_forget(d->journal, call->reply_seq);
}

int durable_keep_answer(struct durable *d, struct call *call, const struct message *reply,
                        journal_done_cb *done, void *arg)
{
    const struct iovec parts[] = {{call->id.bytes, ID_LEN}, {(void *)reply->bytes, reply->len}};
    return d && d->journal ? journal_append(d->journal, KEPT_ANSWER, parts, 2, done, arg, &call->reply_seq)
                           : -EIO;
}

// --- after a restart ---

int durable_recover_answer(struct durable *d, const struct journal_record *r, bool live)
{
    struct wire_reader reader;
    struct envelope e;
    if (!live)
        return 0;
    struct kept_answer *answer = calloc(1, sizeof *answer);
    if (!answer)
        return -ENOMEM;
    answer->seq = r->seq;
    wire_reader_init(&reader, r->data, r->len);
    wire_read_raw(&reader, answer->call.bytes, ID_LEN);
    bool ok = wire_reader_ok(&reader) && envelope_read(&reader, &e) && wire_reader_end(&reader);
    if (!ok || !(answer->reply = message_new(&e, 0))) {
        free(answer);
        return ok ? -ENOMEM : -EBADMSG;
    }
    TAILQ_INSERT_TAIL(&d->answers, answer, link);
    return 0;
}

void durable_free_answers(struct durable *d)
{
    struct kept_answer *answer;
    while ((answer = TAILQ_FIRST(&d->answers))) {
        TAILQ_REMOVE(&d->answers, answer, link);
        message_unref(answer->reply);
        free(answer);
    }
}

// To their calls, which are there again.
static void hand_out_answers(struct durable *d)
{
    struct kept_answer *answer;
    TAILQ_FOREACH(answer, &d->answers, link)
    {
        struct call *call = calls_find_made(&d->router->calls, NULL, &answer->call);
        if (!call || call->reply) {
            journal_forget(d->journal, answer->seq);
            continue;
        }
        call->reply_seq = answer->seq;
        calls_answer(call, answer->reply);
    }
    durable_free_answers(d);
}

static bool by_operator(const struct kept_call *k)
{
    return !k->far && strcmp(k->caller.tenant, NAME_HOST) == 0 &&
           strcmp(k->caller.name, ROUTER_OPERATOR) == 0;
}

// False: one of its sides is not there any more, or its time is over.
static bool revive(struct router *r, const struct kept_call_entry *entry)
{
    const struct kept_call *k = &entry->call;
    uint64_t now_ms = r->ops->realtime_ms(r->ops_arg);
    struct call_sides sides = {.called = &k->called, .kept_seq = entry->seq};
    if (k->deadline_ms <= now_ms)
        return false;
    if (!k->far && !by_operator(k) &&
        !(sides.caller = directory_find(&r->directory, k->caller.tenant, k->caller.name)))
        return false;
    if (k->callee_name[0] &&
        !(sides.callee = directory_find(&r->directory, k->callee_tenant, k->callee_name)))
        return false;
    if (k->far && !(sides.far = call_far_new(&k->caller, k->host, k->reply_to[0] ? k->reply_to : NULL,
                                             k->correlation[0] ? k->correlation : NULL)))
        return false;
    struct call *call = calls_add(r, &k->id, &sides, k->deadline_ms, now_ms);
    if (call)
        call->owed = false;
    return call != NULL;
}

static void drop_box(struct durable *d, struct kept_box *box, size_t *n_mails)
{
    struct kept_mail *mail;
    TAILQ_FOREACH(mail, &box->mails, link)
    {
        const uint64_t records[] = {mail->seq, mail->mark, mail->counted};
        for (size_t i = 0; i < sizeof records / sizeof records[0]; i++)
            if (records[i])
                journal_forget(d->journal, records[i]);
        ++*n_mails;
    }
    table_remove(&d->boxes, &box->node);
    durable_free_box(box);
}

void durable_forget_orphans(struct durable *d)
{
    struct kept_orphan *orphan;
    while ((orphan = STAILQ_FIRST(&d->orphans))) {
        STAILQ_REMOVE_HEAD(&d->orphans, link);
        if (d->journal)
            journal_forget(d->journal, orphan->seq);
        free(orphan);
    }
}

void durable_settle(struct durable *d)
{
    struct kept_call_entry *entry;
    struct table_node *n;
    size_t n_mails = 0;
    if (!d || !d->journal)
        return;
    while ((entry = TAILQ_FIRST(&d->calls))) {
        TAILQ_REMOVE(&d->calls, entry, link);
        if (!revive(d->router, entry))
            journal_forget(d->journal, entry->seq);
        free(entry);
    }
    hand_out_answers(d);
    durable_forget_orphans(d);
    while ((n = table_any(&d->boxes)))
        drop_box(d, table_entry(n, struct kept_box, node), &n_mails);
    table_done(&d->by_seq);
    durable_tell_left_queues(d);
    if (n_mails > 0)
        log_warn(NULL,
                 "%zu messages in the journal were to environments that are not defined any more: dropped",
                 n_mails);
}
