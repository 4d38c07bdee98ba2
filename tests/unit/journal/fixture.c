// The fixture of the journal's tests: see fixture.h.
#include "fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"

static uint8_t byte_of(uint64_t number, size_t at)
{
    return (uint8_t)((number * 131 + at * 7) ^ (at >> 8));
}

static void fill(uint8_t *data, uint64_t number, size_t len)
{
    memcpy(data, &number, sizeof number);
    for (size_t i = sizeof number; i < len; i++)
        data[i] = byte_of(number, i);
}

static bool is_intact(const uint8_t *data, uint64_t number, size_t len)
{
    for (size_t i = sizeof number; i < len; i++)
        if (data[i] != byte_of(number, i))
            return false;
    return true;
}

static int on_recovered(void *arg, const struct journal_record *r, bool live)
{
    struct fixture *f = arg;
    assert_true(f->n_found < FOUND_MAX);
    struct found *found = &f->found[f->n_found++];
    *found = (struct found){.seq = r->seq, .live = live, .type = r->type};
    if (r->len >= sizeof found->number) {
        memcpy(&found->number, r->data, sizeof found->number);
        found->intact = is_intact(r->data, found->number, r->len);
    }
    f->n_live += live;
    if (live && found->number < NUMBER_MAX)
        f->seqs[found->number] = r->seq;
    return 0;
}

static void on_dropped(void *arg, const struct journal_record *r)
{
    struct fixture *f = arg;
    if (f->on_dropped)
        f->on_dropped(f, r);
}

static void on_state(void *arg, enum journal_state state, const char *why)
{
    struct fixture *f = arg;
    assert_true((state == JOURNAL_WRITABLE) == (why[0] == '\0'));
    f->state = state;
}

static void on_damage(void *arg, const char *what)
{
    struct fixture *f = arg;
    f->damages++;
    snprintf(f->damage, sizeof f->damage, "%s", what);
}

struct fixture *fixture_new(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->found = calloc(FOUND_MAX, sizeof *f->found);
    assert_non_null(f->found);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->folder, sizeof f->folder, "%s/journal-XXXXXX", tmp && strlen(tmp) < 32 ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->folder));
    f->config =
        (struct journal_config){.folder = f->folder, .segment_bytes = SEGMENT, .bytes_max = 64 * SEGMENT};
    f->base = event_base_new();
    assert_non_null(f->base);
    f->in_order = true;
    return f;
}

void fixture_free(struct fixture *f)
{
    if (f->journal)
        fixture_close(f);
    DIR *dir = opendir(f->folder);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(dir), e->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(f->folder);
    event_base_free(f->base);
    free(f->found);
    free(f);
}

int fixture_try_open(struct fixture *f)
{
    static const struct journal_cb cb = {on_recovered, on_dropped, on_state, on_damage};
    struct err err = {""};
    f->n_found = f->n_live = f->damages = 0;
    f->damage[0] = '\0';
    f->state = JOURNAL_WRITABLE;
    f->done = f->failed = f->last_done = 0;
    int rc = journal_open(f->base, &f->config, &cb, f, &f->journal, &err);
    if (rc < 0)
        fprintf(stderr, "%s\n", err.text);
    return rc;
}

void fixture_open(struct fixture *f)
{
    assert_int_equal(fixture_try_open(f), 0);
}

void fixture_close(struct fixture *f)
{
    journal_close(f->journal);
    f->journal = NULL;
}

void fixture_reopen(struct fixture *f)
{
    fixture_close(f);
    fixture_open(f);
}

struct waiter {
    struct fixture *f;
    uint64_t number;
};

static void on_append_done(void *arg, int rc)
{
    struct waiter *w = arg;
    struct fixture *f = w->f;
    f->done += rc == 0;
    f->failed += rc != 0;
    f->last_rc = rc;
    f->in_order = f->in_order && w->number > f->last_done;
    f->last_done = w->number;
    if (f->on_done)
        f->on_done(f, w->number, rc);
    free(w);
}

int fixture_append(struct fixture *f, uint64_t number, size_t len)
{
    uint8_t *data = malloc(len);
    struct waiter *w = malloc(sizeof *w);
    assert_true(data && w && len >= sizeof number && number < NUMBER_MAX);
    fill(data, number, len);
    *w = (struct waiter){f, number};
    // In two parts, the way callers have a header and a body.
    const struct iovec parts[] = {{data, 8}, {data + 8, len - 8}};
    int rc = journal_append(f->journal, 7, parts, 2, on_append_done, w, &f->seqs[number]);
    if (rc < 0)
        free(w);
    free(data);
    return rc;
}

void fixture_forget(struct fixture *f, uint64_t number)
{
    journal_forget(f->journal, f->seqs[number]);
}

static bool ended(struct fixture *f, uint64_t n)
{
    return f->done + f->failed >= n;
}

void fixture_run(struct fixture *f, unsigned ms)
{
    const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_base_loopexit(f->base, &tv);
    event_base_dispatch(f->base);
}

bool fixture_wait(struct fixture *f, uint64_t n, unsigned ms)
{
    uint64_t until = io_monotonic_ns() + ms * 1000000ull;
    while (!ended(f, n) && io_monotonic_ns() < until)
        event_base_loop(f->base, EVLOOP_ONCE);
    return ended(f, n);
}

bool fixture_wait_state(struct fixture *f, enum journal_state state, unsigned ms)
{
    for (unsigned i = 0; f->state != state && i < ms; i += 10)
        fixture_run(f, 10);
    return f->state == state;
}

const struct found *fixture_find(const struct fixture *f, uint64_t number)
{
    for (size_t i = 0; i < f->n_found; i++)
        if (f->found[i].live && f->found[i].number == number)
            return &f->found[i];
    return NULL;
}

struct journal_stats fixture_stats(const struct fixture *f)
{
    struct journal_stats s;
    journal_get_stats(f->journal, &s);
    return s;
}
