// Walks the queue of dead letters. Every letter on the way is taken and put back in the end, unless it was
// thrown away or replayed; a lost link puts all of them back.
#include "remote/dead.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/sha256.h"
#include "remote/remote_internal.h"

struct dead_letter {
    uint64_t handle;
    enum broker_settlement how;
};

// The walk that is under way.
struct dead_walk {
    struct remote *remote;
    struct remote_dead_ask ask;
    char letter[BROKER_SHORT_MAX + 1];
    remote_dead_cb *cb;
    void *arg;
    uint64_t tag;
    struct remote_dead_end end;
    char why[BROKER_WHY_CAP];
    bool ended;                   // the last one came
    size_t n, cap, n_pending;     // publications whose outcome is not known
    struct dead_letter letters[]; // cap of them
};

// A replayed letter until the broker has it.
struct dead_replay {
    struct dead_walk *walk;
    size_t index;
};

static void add_text(struct sha256 *s, struct broker_text t)
{
    uint64_t len = t.len;
    sha256_add(s, &len, sizeof len);
    if (t.len > 0)
        sha256_add(s, t.data, t.len);
}

// The same on every host, as long as it lies there.
static void name_letter(const struct broker_delivery *d, char out[REMOTE_DEAD_NAME_CAP])
{
    const struct broker_properties *p = &d->properties;
    struct sha256 s;
    uint8_t sum[SHA256_LEN];
    sha256_init(&s);
    add_text(&s, p->message_id);
    add_text(&s, d->routing_key);
    add_text(&s, d->body);
    sha256_add(&s, &p->timestamp, sizeof p->timestamp);
    for (size_t i = 0; i < p->n_headers; i++) {
        add_text(&s, p->headers[i].name);
        add_text(&s, p->headers[i].value);
    }
    sha256_end(&s, sum);
    for (size_t i = 0; i < (REMOTE_DEAD_NAME_CAP - 1) / 2; i++)
        snprintf(out + 2 * i, 3, "%02x", sum[i]);
}

static struct remote_dead view_of(const struct broker_delivery *d)
{
    struct remote_dead seen = {
        .id = d->properties.message_id,
        .from = remote_last_header(&d->properties, "env-from"),
        .to = d->routing_key,
        .subject = d->properties.type,
        .code = remote_last_header(&d->properties, "env-refused"),
        .why = remote_last_header(&d->properties, "env-refused-why"),
        .host = remote_last_header(&d->properties, "env-refused-by"),
        .exchange = remote_last_header(&d->properties, "env-refused-exchange"),
        .user = remote_last_header(&d->properties, "env-refused-user"),
        .body_bytes = d->body.len,
        .properties = &d->properties,
    };
    name_letter(d, seen.letter);
    return seen;
}

// --- the end ---

static void finish_if_whole(struct dead_walk *w)
{
    struct remote *r = w->remote;
    if (!w->ended || w->n_pending > 0 || r->stopping)
        return;
    for (size_t i = 0; i < w->n; i++)
        broker_settle(r->broker, w->letters[i].handle, w->letters[i].how);
    r->dead = NULL; // the callback may start the next one
    w->cb(w->arg, w->tag, NULL, &w->end);
    free(w);
}

// --- replaying ---

static void keep(struct dead_walk *w, const char *code, const char *text)
{
    w->end.kept++;
    snprintf(w->end.code, sizeof w->end.code, "%s", code);
    snprintf(w->end.text, sizeof w->end.text, "%s", text);
}

static void on_replayed(void *arg, enum broker_outcome outcome)
{
    static const struct {
        const char *code, *text;
    } kept[] = {
        [BROKER_RETURNED] = {"no-such-environment", "its receiver is gone: no host takes its messages"},
        [BROKER_NACKED] = {"mailbox-full", "the receiver's queue at the broker is full"},
        [BROKER_UNKNOWN] = {"unknown-outcome",
                            "the broker did not confirm it in time: it may have been replayed"},
        [BROKER_NOT_SENT] = {"host-unreachable", "the link to the broker was lost before it was sent"},
        [BROKER_FORBIDDEN] = {"denied", "the broker does not let this host publish it"},
    };
    struct dead_replay replay = *(struct dead_replay *)arg;
    struct dead_walk *w = replay.walk;
    free(arg);
    w->n_pending--;
    if (outcome == BROKER_CONFIRMED) {
        w->letters[replay.index].how = BROKER_ACK;
        w->end.done++;
    } else {
        keep(w, kept[outcome].code, kept[outcome].text);
    }
    finish_if_whole(w);
}

static void replay(struct dead_walk *w, const struct broker_delivery *d, size_t index)
{
    const char *code = NULL, *text = NULL;
    struct dead_replay *replay = malloc(sizeof *replay);
    if (!replay) {
        keep(w, "busy", "there is no memory for it");
        return;
    }
    *replay = (struct dead_replay){w, index};
    if (remote_dead_publish(w->remote, d, on_replayed, replay, &code, &text) == 0) {
        w->n_pending++;
        return;
    }
    free(replay);
    keep(w, code, text);
}

// --- walking ---

// Whether it is one of those that are asked for.
static bool is_wanted(const struct dead_walk *w, const struct remote_dead *d, size_t index)
{
    if (w->letter[0])
        return w->end.done + w->end.kept + w->n_pending == 0 &&
               (strcmp(d->letter, w->letter) == 0 || broker_text_is(d->id, w->letter));
    return index >= w->ask.position && index - w->ask.position < w->ask.limit;
}

static void take(struct dead_walk *w, const struct broker_delivery *d)
{
    const struct remote_dead seen = view_of(d);
    size_t index = w->n++;
    w->letters[index] = (struct dead_letter){d->handle, BROKER_REQUEUE};
    if (!is_wanted(w, &seen, index)) {
        w->end.more = w->end.more || (!w->letter[0] && index >= w->ask.position + w->ask.limit);
    } else if (w->ask.what == REMOTE_DEAD_REPLAY) {
        replay(w, d, index);
    } else {
        w->end.done++;
        if (w->ask.what == REMOTE_DEAD_PURGE)
            w->letters[index].how = BROKER_ACK;
        w->cb(w->arg, w->tag, &seen, NULL);
    }
}

static void on_got(void *arg, const struct broker_delivery *d, const char *why)
{
    struct dead_walk *w = arg;
    if (d && w->n < w->cap) {
        take(w, d);
    } else if (!d) {
        w->ended = true;
        snprintf(w->why, sizeof w->why, "%s", why ? why : "");
        w->end.why = w->why[0] ? w->why : NULL;
        finish_if_whole(w);
    }
}

int remote_dead_walk(struct remote *r, const struct remote_dead_ask *ask, remote_dead_cb *cb, void *arg,
                     uint64_t tag)
{
    // One more than is asked for, to know whether there are more.
    size_t n = ask->letter ? REMOTE_DEAD_REACH : (size_t)ask->position + ask->limit + 1;
    if (!r->broker)
        return -ENOTCONN;
    if (r->dead)
        return -EBUSY;
    if (n > REMOTE_DEAD_REACH)
        n = REMOTE_DEAD_REACH;
    struct dead_walk *w = calloc(1, sizeof *w + n * sizeof w->letters[0]);
    if (!w)
        return -ENOMEM;
    w->remote = r;
    w->ask = *ask;
    w->cap = n;
    w->cb = cb;
    w->arg = arg;
    w->tag = tag;
    snprintf(w->letter, sizeof w->letter, "%s", ask->letter ? ask->letter : "");
    w->ask.letter = NULL;
    int rc = broker_get(r->broker, AMQP_QUEUE_DEAD, (uint32_t)n, on_got, w);
    if (rc < 0)
        free(w);
    else
        r->dead = w;
    return rc;
}
