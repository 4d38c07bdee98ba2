// Owns the journal of the router and what was recovered from it, until each environment asks for its part.
//
// What finds duplicates needs no record of its own while the message's record, dead or live, is still in the
// journal. When its segment is about to go, the keys that a window still remembers are written together, and
// forgotten at once: as dead records they are told at the next recovery all the same, and never copied.
#include "route/durable_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"

// --- boxes ---

static uint64_t hash_names(const struct durable *d, const char *tenant, const char *name)
{
    char text[2 * NAME_CAP] = {0};
    snprintf(text, sizeof text, "%s/%s", tenant, name);
    return siphash(&d->key, text, sizeof text);
}

static struct kept_box *find_box(const struct durable *d, const struct table *t, const char *tenant,
                                 const char *name)
{
    for (struct table_node *n = table_first(t, hash_names(d, tenant, name)); n; n = table_next(n)) {
        struct kept_box *box = table_entry(n, struct kept_box, node);
        if (strcmp(box->tenant, tenant) == 0 && strcmp(box->name, name) == 0)
            return box;
    }
    return NULL;
}

static struct kept_box *get_box(struct durable *d, struct table *t, const char *tenant, const char *name)
{
    struct kept_box *box = find_box(d, t, tenant, name);
    if (box || !(box = calloc(1, sizeof *box)))
        return box;
    snprintf(box->tenant, sizeof box->tenant, "%s", tenant);
    snprintf(box->name, sizeof box->name, "%s", name);
    TAILQ_INIT(&box->mails);
    table_insert(t, &box->node, hash_names(d, tenant, name));
    return box;
}

void durable_free_box(struct kept_box *box)
{
    struct kept_mail *mail;
    if (!box)
        return;
    while ((mail = TAILQ_FIRST(&box->mails))) {
        TAILQ_REMOVE(&box->mails, mail, link);
        message_unref(mail->message);
        free(mail);
    }
    for (size_t i = 0; i < KEPT_WINDOWS; i++)
        free(box->windows[i].keys);
    free(box);
}

static int add_key(struct kept_box *box, enum kept_window window, uint64_t key, uint64_t arrival)
{
    struct kept_key_list *list = &box->windows[window];
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 16;
        struct kept_key *keys = realloc(list->keys, cap * sizeof *keys);
        if (!keys)
            return -ENOMEM;
        list->keys = keys;
        list->cap = cap;
    }
    list->keys[list->n++] = (struct kept_key){key, arrival};
    return 0;
}

struct kept_box *durable_take_box(struct durable *d, const char *tenant, const char *name)
{
    struct kept_box *box = d ? find_box(d, &d->boxes, tenant, name) : NULL;
    struct kept_mail *mail;
    if (!box)
        return NULL;
    table_remove(&d->boxes, &box->node);
    TAILQ_FOREACH(mail, &box->mails, link)
    {
        table_remove(&d->by_seq, &mail->by_seq);
    }
    return box;
}

// --- recovery ---

static int recover_message(struct durable *d, const struct journal_record *r, bool live)
{
    struct kept_message kept;
    struct wire_reader reader;
    struct envelope e;
    if (!kept_read_message(r->data, r->len, (enum kept_type)r->type, &kept))
        return -EBADMSG;
    struct kept_box *box = get_box(d, &d->boxes, kept.tenant, kept.name);
    if (!box || add_key(box, KEPT_WINDOW_MESSAGES, kept.dedup_key, r->seq) < 0)
        return -ENOMEM;
    if (!live)
        return 0;
    wire_reader_init(&reader, kept.envelope, kept.len);
    if (!envelope_read(&reader, &e) || !wire_reader_end(&reader))
        return -EBADMSG;
    struct kept_mail *mail = calloc(1, sizeof *mail);
    if (!mail || !(mail->message = message_new(&e, kept.dedup_key))) {
        free(mail);
        return -ENOMEM;
    }
    mail->seq = r->seq;
    mail->arrived_ms = kept.arrived_ms;
    TAILQ_INSERT_TAIL(&box->mails, mail, link);
    table_insert(&d->by_seq, &mail->by_seq, mail->seq);
    return 0;
}

// A record of no use, left by a crash that came before it was forgotten: durable_settle() does.
static int recover_orphan(struct durable *d, const struct journal_record *r)
{
    struct kept_orphan *orphan = malloc(sizeof *orphan);
    if (!orphan)
        return -ENOMEM;
    orphan->seq = r->seq;
    STAILQ_INSERT_TAIL(&d->orphans, orphan, link);
    return 0;
}

static int recover_keys(struct durable *d, const struct journal_record *r, bool live)
{
    _cleanup_free_ struct kept_keys *keys = malloc(sizeof *keys);
    if (!keys)
        return -ENOMEM;
    if (!kept_read_keys(r->data, r->len, keys))
        return -EBADMSG;
    struct kept_box *box = get_box(d, &d->boxes, keys->tenant, keys->name);
    for (size_t i = 0; box && i < keys->n; i++)
        if (add_key(box, keys->window, keys->keys[i].key,
                    keys->keys[i].arrival ? keys->keys[i].arrival : r->seq) < 0)
            return -ENOMEM;
    if (!box)
        return -ENOMEM;
    return live ? recover_orphan(d, r) : 0; // the crash came before it was forgotten
}

static int recover_call(struct durable *d, const struct journal_record *r, bool live)
{
    if (!live)
        return 0;
    struct kept_call_entry *entry = calloc(1, sizeof *entry);
    if (!entry)
        return -ENOMEM;
    entry->seq = r->seq;
    if (!kept_read_call(r->data, r->len, &entry->call)) {
        free(entry);
        return -EBADMSG;
    }
    TAILQ_INSERT_TAIL(&d->calls, entry, link);
    return 0;
}

static struct kept_mail *find_mail(const struct durable *d, uint64_t seq)
{
    struct table_node *n = table_first(&d->by_seq, seq);
    return n ? table_entry(n, struct kept_mail, by_seq) : NULL;
}

static int recover_dead(struct durable *d, const struct journal_record *r, bool live)
{
    struct kept_dead dead;
    if (!live)
        return 0;
    if (!kept_read_dead(r->data, r->len, &dead))
        return -EBADMSG;
    struct kept_mail *mail = find_mail(d, dead.seq);
    if (!mail || mail->mark)
        return recover_orphan(d, r);
    mail->mark = r->seq;
    mail->since_ms = dead.since_ms;
    mail->reason = dead.reason;
    return 0;
}

// The later one counts: a crash came before the one before it was forgotten.
static int recover_attempts(struct durable *d, const struct journal_record *r, bool live)
{
    struct kept_attempts kept;
    if (!live)
        return 0;
    if (!kept_read_attempts(r->data, r->len, &kept))
        return -EBADMSG;
    struct kept_mail *mail = find_mail(d, kept.seq);
    if (!mail)
        return recover_orphan(d, r);
    uint64_t before = mail->counted;
    mail->counted = r->seq;
    mail->attempts = kept.attempts;
    mail->deaths = kept.deaths;
    return before ? recover_orphan(d, &(struct journal_record){.seq = before}) : 0;
}

static int recover_hash_key(struct durable *d, const struct journal_record *r, bool live)
{
    if (live && !d->has_hash_key)
        d->has_hash_key = kept_read_hash_key(r->data, r->len, &d->router->key);
    return 0;
}

// A record that cannot be read is not of this version: it is forgotten, and said.
static int on_recovered(void *arg, const struct journal_record *r, bool live)
{
    static int (*const readers[])(struct durable * d, const struct journal_record *r, bool live) = {
        [KEPT_UNDATED_MESSAGE] = recover_message,
        [KEPT_KEYS] = recover_keys,
        [KEPT_CALL] = recover_call,
        [KEPT_DEAD] = recover_dead,
        [KEPT_HASH_KEY] = recover_hash_key,
        [KEPT_MESSAGE] = recover_message,
        [KEPT_ATTEMPTS] = recover_attempts,
        [KEPT_ANSWER] = durable_recover_answer,
        [KEPT_EPOCH] = durable_recover_epoch,
        [KEPT_QUEUE] = durable_recover_queue,
    };
    struct durable *d = arg;
    bool known = r->type < sizeof readers / sizeof readers[0] && readers[r->type];
    int rc = known ? readers[r->type](d, r, live) : -EBADMSG;
    if (rc == -EBADMSG && live)
        log_warn(NULL, "journal: record %llu of type %u cannot be used", (unsigned long long)r->seq, r->type);
    return rc == -EBADMSG ? 0 : rc;
}

// --- keys of segments that go ---

static bool remembers(const struct durable *d, enum kept_window window, const char *tenant, const char *name,
                      uint64_t key)
{
    const struct environment *e = directory_find(&d->router->directory, tenant, name);
    if (!e)
        return false;
    return window == KEPT_WINDOW_REPLIES ? e->replies_sent && seen_has(e->replies_sent, key)
                                         : e->mailbox->ops->remembers(e->mailbox, key);
}

static void keep_going(struct durable *d, enum kept_window window, const char *tenant, const char *name,
                       struct kept_key key)
{
    if (!remembers(d, window, tenant, name, key.key))
        return;
    struct kept_box *box = get_box(d, &d->going, tenant, name);
    if (box)
        (void)add_key(box, window, key.key, key.arrival); // without memory a duplicate may not be found
}

int durable_append_keys(struct durable *d, const struct kept_keys *keys)
{
    _cleanup_free_ uint8_t *bytes = malloc(KEPT_KEYS_CAP);
    uint64_t seq;
    const struct iovec part = {bytes, bytes ? kept_write_keys(bytes, keys) : 0};
    int rc = bytes ? journal_append(d->journal, KEPT_KEYS, &part, 1, NULL, NULL, &seq) : -ENOMEM;
    if (rc == 0)
        journal_forget(d->journal, seq);
    return rc;
}

// False: the journal does not take what is left in the list.
static bool write_list(struct durable *d, struct kept_box *box, enum kept_window w, struct kept_keys *keys)
{
    struct kept_key_list *list = &box->windows[w];
    *keys = (struct kept_keys){.window = w};
    snprintf(keys->tenant, sizeof keys->tenant, "%s", box->tenant);
    snprintf(keys->name, sizeof keys->name, "%s", box->name);
    while (list->n > 0) {
        keys->n = list->n < KEPT_KEYS_MAX ? list->n : KEPT_KEYS_MAX;
        memcpy(keys->keys, list->keys, keys->n * sizeof *keys->keys);
        if (durable_append_keys(d, keys) < 0)
            return false;
        list->n -= keys->n;
        memmove(list->keys, list->keys + keys->n, list->n * sizeof *list->keys);
    }
    return true;
}

static bool write_box(struct durable *d, struct kept_box *box)
{
    _cleanup_free_ struct kept_keys *keys = malloc(sizeof *keys);
    bool ok = keys != NULL;
    for (int w = 0; ok && w < KEPT_WINDOWS; w++)
        ok = write_list(d, box, (enum kept_window)w, keys);
    return ok;
}

// What cannot be written, for want of memory, is tried again by durable_tick().
static void write_going(struct durable *d)
{
    struct table_node *n;
    while ((n = table_any(&d->going))) {
        struct kept_box *box = table_entry(n, struct kept_box, node);
        table_remove(&d->going, &box->node);
        if (write_box(d, box))
            durable_free_box(box);
        else
            SLIST_INSERT_HEAD(&d->unwritten, box, link);
    }
}

static void write_unwritten(struct durable *d)
{
    struct kept_box *box;
    while ((box = SLIST_FIRST(&d->unwritten)) && write_box(d, box)) {
        SLIST_REMOVE_HEAD(&d->unwritten, link);
        durable_free_box(box);
    }
}

void durable_keep_key_later(struct durable *d, enum kept_window window, const char *tenant, const char *name,
                            uint64_t key)
{
    struct kept_box *box;
    SLIST_FOREACH(box, &d->unwritten, link)
    {
        if (strcmp(box->tenant, tenant) == 0 && strcmp(box->name, name) == 0)
            break;
    }
    if (!box && (box = calloc(1, sizeof *box))) {
        snprintf(box->tenant, sizeof box->tenant, "%s", tenant);
        snprintf(box->name, sizeof box->name, "%s", name);
        TAILQ_INIT(&box->mails);
        SLIST_INSERT_HEAD(&d->unwritten, box, link);
    }
    if (box && box->windows[window].n < d->router->config.dedup_window)
        (void)add_key(box, window, key, 0); // without memory a duplicate may not be found
}

static void keep_keys_going(struct durable *d, const struct journal_record *r)
{
    struct kept_keys *keys = malloc(sizeof *keys);
    bool ok = keys && kept_read_keys(r->data, r->len, keys);
    for (size_t i = 0; ok && i < keys->n; i++) {
        struct kept_key key = keys->keys[i];
        key.arrival = key.arrival ? key.arrival : r->seq;
        keep_going(d, keys->window, keys->tenant, keys->name, key);
    }
    free(keys);
}

static void on_dropped(void *arg, const struct journal_record *r)
{
    struct durable *d = arg;
    struct kept_message m;
    if (!r) {
        write_going(d);
    } else if ((r->type == KEPT_MESSAGE || r->type == KEPT_UNDATED_MESSAGE) &&
               kept_read_message(r->data, r->len, (enum kept_type)r->type, &m)) {
        keep_going(d, KEPT_WINDOW_MESSAGES, m.tenant, m.name, (struct kept_key){m.dedup_key, r->seq});
    } else if (r->type == KEPT_KEYS) {
        keep_keys_going(d, r);
    }
}

// --- opening and closing ---

static void on_state(void *arg, enum journal_state state, const char *why)
{
    (void)arg;
    if (state == JOURNAL_WRITABLE)
        log_info(NULL, "the journal of messages can be written again");
    else
        log_error(NULL, "the journal of messages %s: %s; messages are refused",
                  state == JOURNAL_FULL ? "is full" : "fails", why);
}

static void on_damage(void *arg, const char *what)
{
    (void)arg;
    log_error(NULL, "the journal of messages: %s", what);
}

static void keep_hash_key(struct durable *d)
{
    uint8_t bytes[KEPT_SMALL_CAP];
    const struct iovec part = {bytes, kept_write_hash_key(bytes, &d->router->key)};
    d->has_hash_key = journal_append(d->journal, KEPT_HASH_KEY, &part, 1, NULL, NULL, NULL) == 0;
}

static void free_calls(struct durable *d)
{
    struct kept_call_entry *c;
    while ((c = TAILQ_FIRST(&d->calls))) {
        TAILQ_REMOVE(&d->calls, c, link);
        free(c);
    }
}

static void free_boxes(struct table *t)
{
    struct table_node *n;
    while ((n = table_any(t))) {
        table_remove(t, n);
        durable_free_box(table_entry(n, struct kept_box, node));
    }
    table_done(t);
}

void durable_close(struct durable *d)
{
    if (d)
        journal_close(take_ptr(d->journal));
}

void durable_free(struct durable *d)
{
    if (!d)
        return;
    struct kept_box *box;
    free_calls(d);
    durable_free_answers(d);
    durable_forget_orphans(d);
    while ((box = SLIST_FIRST(&d->unwritten))) {
        SLIST_REMOVE_HEAD(&d->unwritten, link);
        durable_free_box(box);
    }
    free_boxes(&d->boxes);
    free_boxes(&d->going);
    durable_free_epochs(d);
    durable_free_queues(d);
    table_done(&d->by_seq);
    free(d);
}

int durable_open(struct router *r, const struct journal_config *config, struct durable **ret, struct err *err)
{
    static const struct journal_cb cb = {on_recovered, on_dropped, on_state, on_damage};
    struct durable *d = calloc(1, sizeof *d);
    if (!d)
        return err_set(err, -ENOMEM, "no memory for the journal of messages");
    *d = (struct durable){.router = r, .key = siphash_key_random()};
    TAILQ_INIT(&d->calls);
    TAILQ_INIT(&d->answers);
    STAILQ_INIT(&d->orphans);
    LIST_INIT(&d->all_queues);
    int rc = table_init(&d->boxes, 64) < 0 || table_init(&d->by_seq, 1024) < 0 ||
                     table_init(&d->going, 64) < 0 || table_init(&d->epochs, 64) < 0 ||
                     table_init(&d->queues, 64) < 0
                 ? err_set(err, -ENOMEM, "no memory for the journal of messages")
                 : journal_open(r->base, config, &cb, d, &d->journal, err);
    if (rc < 0) {
        durable_free(d);
        return rc;
    }
    if (!d->has_hash_key)
        keep_hash_key(d);
    *ret = d;
    return 0;
}

struct journal *const *durable_journal(const struct durable *d)
{
    return &d->journal;
}

void durable_tick(struct durable *d)
{
    if (!d || !d->journal)
        return;
    if (!d->has_hash_key)
        keep_hash_key(d);
    write_unwritten(d);
}

void durable_describe(const struct durable *d, char *out, size_t cap)
{
    struct journal_stats s = {.state = JOURNAL_FAILING, .why = "it is not open"};
    if (d && d->journal)
        journal_get_stats(d->journal, &s);
    out[0] = '\0';
    if (s.state != JOURNAL_WRITABLE)
        snprintf(out, cap, "the journal %s: %s", s.state == JOURNAL_FULL ? "is full" : "fails", s.why);
}
