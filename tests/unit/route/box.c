// A mailbox of class host with a journal of its own, and short words for what is done to it. Called by
// mailbox_*_test.c.
#include "box.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../fuzz/route/journal_folder.h"
#include "journal/journal.h"

struct mailbox_budget budget;
struct mailbox *mb;
static struct event_base *base;
struct journal *journal;
static char folder[64];

const struct mailbox_limits limits = {
    .messages_max = 8, .bytes_max = 4096, .window = 16, .attempts_max = 3, .dead_max = 2, .budget = &budget};

int setup(void **state)
{
    (void)state;
    static const struct journal_cb cb = {0};
    struct err err;
    snprintf(folder, sizeof folder, "/tmp/mailbox-XXXXXX");
    const struct journal_config config = {.folder = folder, .segment_bytes = 64u << 10, .bytes_max = 1};
    base = event_base_new();
    budget = (struct mailbox_budget){.bytes_max = 1u << 20};
    if (!mkdtemp(folder) || journal_open(base, &config, &cb, NULL, &journal, &err) < 0)
        return -1;
    mb = mailbox_host_new(&limits, &journal, "acme", "db", NULL);
    return mb ? 0 : -1;
}

int teardown(void **state)
{
    (void)state;
    mb->ops->close(mb, true);
    assert_int_equal(budget.bytes, 0);
    journal_close(journal);
    event_base_free(base);
    journal_folder_remove(folder);
    return 0;
}

struct id id_of(unsigned n)
{
    struct id id = {{1}};
    memcpy(id.bytes + 1, &n, sizeof n);
    return id;
}

struct message *make(struct what what)
{
    static const uint8_t body[4096];
    const struct envelope e = {
        .kind = what.kind,
        .priority = what.priority,
        .id = id_of(what.n),
        .expires_ms = what.expires_ms,
        .from = {(const uint8_t *)"acme/web", 8},
        .to = {(const uint8_t *)"acme/db", 7},
        .subject = {(const uint8_t *)"s", 1},
        .body = {body, what.body_len},
    };
    struct message *m = message_new(&e, what.sender * 1000003u + what.n);
    assert_non_null(m);
    return m;
}

void note_outcome(void *arg, enum mailbox_outcome outcome)
{
    *(enum mailbox_outcome *)arg = outcome;
}

enum mailbox_outcome put(struct what what)
{
    struct message *m = make(what);
    enum mailbox_outcome outcome = (enum mailbox_outcome) - 1;
    mb->ops->put(mb, m, NOW_MS, note_outcome, &outcome);
    journal_flush(journal);
    message_unref(m);
    return outcome;
}

unsigned next_at(uint64_t now_ms, bool replies_only)
{
    struct message *m = mb->ops->next(mb, now_ms, replies_only);
    unsigned n = 0;
    if (m)
        memcpy(&n, m->id.bytes + 1, sizeof n);
    message_unref(m);
    return n;
}

unsigned next(void)
{
    return next_at(NOW_MS, false);
}

bool ack(unsigned n)
{
    const struct id id = id_of(n);
    return mb->ops->ack(mb, &id);
}

bool release(unsigned n)
{
    const struct id id = id_of(n);
    return mb->ops->release(mb, &id, false, NOW_MS);
}

struct mailbox_stats stats(void)
{
    struct mailbox_stats s;
    mb->ops->get_stats(mb, &s);
    return s;
}
