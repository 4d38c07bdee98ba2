// The power fails at random moments. What a disk then holds is put together from what the journal wrote: all
// that was synced, and of what was not, any sectors in any order; files that were deleted may be there again.
// A journal opened on that has every record that was said to be durable, and none that was durably forgotten.
// ring_write() and the completions are wrapped to learn what was written, and what is durable.
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "journal/ring.h"

#define FILES_MAX 64
#define CRASHES   150
#define KEEP      120
#define SECTOR    512

struct pending { // a write that is not known to be synced
    TAILQ_ENTRY(pending) link;
    struct ring_task *task;
    unsigned file;
    uint64_t offset;
    size_t len;
    uint8_t data[];
};
static TAILQ_HEAD(, pending) pendings = TAILQ_HEAD_INITIALIZER(pendings);
static uint8_t *disk[FILES_MAX]; // what is durable, by the file's number; NULL: there was no such file

static uint64_t rng_state;
static uint64_t rng(void)
{
    rng_state = rng_state * 6364136223846793005ull + 1442695040888963407ull;
    return rng_state >> 33;
}

static bool recording;
static struct fixture *f;

void __real_ring_write(struct ring *r, struct ring_task *task, int fd, const void *data, size_t len,
                       uint64_t offset);
void __wrap_ring_write(struct ring *r, struct ring_task *task, int fd, const void *data, size_t len,
                       uint64_t offset);
void __wrap_ring_write(struct ring *r, struct ring_task *task, int fd, const void *data, size_t len,
                       uint64_t offset)
{
    char link[64], path[128];
    unsigned number = 0;
    __real_ring_write(r, task, fd, data, len, offset);
    if (!recording)
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    const char *base = strrchr(path, '/');
    assert_true(base && sscanf(base, "/%8u.seg", &number) == 1 && number < FILES_MAX);
    struct pending *p = malloc(sizeof *p + len);
    assert_non_null(p);
    *p = (struct pending){.task = task, .file = number, .offset = offset, .len = len};
    memcpy(p->data, data, len);
    TAILQ_INSERT_TAIL(&pendings, p, link);
}

static void apply(uint8_t *image, const struct pending *p, bool whole)
{
    for (size_t at = 0; at < p->len; at += SECTOR) {
        size_t n = p->len - at < SECTOR ? p->len - at : SECTOR;
        if (whole || rng() % 2)
            memcpy(image + p->offset + at, p->data + at, n);
    }
}

static uint8_t *image_of(unsigned file)
{
    if (!disk[file])
        disk[file] = calloc(1, SEGMENT);
    assert_non_null(disk[file]);
    return disk[file];
}

// The chain ended: everything it wrote is synced.
static void synced(struct ring_task *task, int rc)
{
    for (struct pending *p = TAILQ_FIRST(&pendings), *next; recording && p; p = next) {
        next = TAILQ_NEXT(p, link);
        if (p->task != task)
            continue;
        assert_int_equal(rc, 0);
        apply(image_of(p->file), p, true);
        TAILQ_REMOVE(&pendings, p, link);
        free(p);
    }
}

void __real_write_done(struct ring_task *task, int rc);
void __wrap_write_done(struct ring_task *task, int rc);
void __wrap_write_done(struct ring_task *task, int rc)
{
    synced(task, rc);
    __real_write_done(task, rc);
}

void __real_prepare_done(struct ring_task *task, int rc);
void __wrap_prepare_done(struct ring_task *task, int rc);
void __wrap_prepare_done(struct ring_task *task, int rc)
{
    synced(task, rc);
    __real_prepare_done(task, rc);
}

// --- what was promised ---

enum fate { NEVER, APPENDED, DURABLE, FORGOTTEN, SURELY_FORGOTTEN };
static uint8_t fates[NUMBER_MAX];
static uint64_t n_appended;
static uint64_t forgotten[NUMBER_MAX], n_forgotten, n_surely;
static uint64_t forgotten_before[NUMBER_MAX]; // when it was appended

static void on_done(struct fixture *fx, uint64_t number, int rc)
{
    (void)fx;
    assert_int_equal(rc, 0);
    if (fates[number] == APPENDED)
        fates[number] = DURABLE;
    // A forgetting is written no later than what is appended after it.
    for (; n_surely < forgotten_before[number]; n_surely++)
        fates[forgotten[n_surely]] = SURELY_FORGOTTEN;
}

static uint64_t kept[KEEP + 64];
static size_t n_kept;

static void do_something(void)
{
    for (uint64_t burst = rng() % 25; burst > 0; burst--) {
        uint64_t number = ++n_appended;
        assert_true(number < NUMBER_MAX);
        fates[number] = APPENDED;
        forgotten_before[number] = n_forgotten;
        assert_int_equal(fixture_append(f, number, 8 + rng() % (rng() % 10 == 0 ? 5000 : 400)), 0);
        kept[n_kept++] = number;
    }
    while (n_kept > KEEP) {
        size_t i = rng() % n_kept;
        fates[kept[i]] = FORGOTTEN;
        forgotten[n_forgotten++] = kept[i];
        fixture_forget(f, kept[i]);
        kept[i] = kept[--n_kept];
    }
    // Waits only for what is under way: of the last, all may have been done before.
    bool waits = rng() % 4 != 0 && fates[n_appended] == APPENDED;
    event_base_loop(f->base, waits ? EVLOOP_ONCE : EVLOOP_NONBLOCK);
}

// --- the failure ---

static void write_file(const char *folder, unsigned file)
{
    char path[160];
    static uint8_t image[SEGMENT];
    const struct pending *p;
    memcpy(image, disk[file], SEGMENT);
    TAILQ_FOREACH(p, &pendings, link)
    {
        if (p->file == file)
            apply(image, p, false);
    }
    snprintf(path, sizeof path, "%s/%08u.seg", folder, file);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, image, SEGMENT) == (ssize_t)SEGMENT);
    close(fd);
}

static bool is_there(unsigned file)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%08u.seg", f->folder, file);
    return access(path, F_OK) == 0;
}

static void check(const struct fixture *after)
{
    static bool live[NUMBER_MAX];
    memset(live, 0, sizeof live);
    for (size_t i = 0; i < after->n_found; i++) {
        const struct found *r = &after->found[i];
        assert_true(r->intact && r->number <= n_appended && fates[r->number] != NEVER);
        if (r->live && fates[r->number] == SURELY_FORGOTTEN)
            fail_msg("record %u was forgotten, and came back", (unsigned)r->number);
        assert_false(r->live && live[r->number]);
        live[r->number] = live[r->number] || r->live;
    }
    for (uint64_t n = 1; n <= n_appended; n++)
        if (fates[n] == DURABLE && !live[n])
            fail_msg("record %u was durable, and is lost", (unsigned)n);
    if (after->damages > 1 || (after->damages == 1 && !strstr(after->damage, "torn")))
        fail_msg("%u damages: %s", after->damages, after->damage);
}

static void fail_power(void)
{
    recording = false;
    struct fixture *after = fixture_new();
    for (unsigned file = 0; file < FILES_MAX; file++)
        if (disk[file] && (is_there(file) || rng() % 2))
            write_file(after->folder, file);
    fixture_open(after);
    check(after);
    fixture_free(after);
    recording = true;
}

static void what_is_durable_survives_a_power_failure_at_any_moment(void **state)
{
    (void)state;
    const char *seed = getenv("ENVD_SEED");
    rng_state = seed ? strtoull(seed, NULL, 0) : 771;
    print_message("seed %llu (set ENVD_SEED)\n", (unsigned long long)rng_state);
    f = fixture_new();
    f->config.bytes_max = 40 * SEGMENT;
    f->on_done = on_done;
    recording = true;
    fixture_open(f);
    for (unsigned crash = 0; crash < CRASHES; crash++) {
        for (uint64_t n = rng() % 20; n > 0; n--)
            do_something();
        fail_power();
    }
    struct journal_stats s = fixture_stats(f);
    print_message("%llu records, %llu segments cleaned\n", (unsigned long long)n_appended,
                  (unsigned long long)s.cleaned);
    assert_true(s.cleaned > 20);
    fixture_close(f);
    recording = false;
    fixture_free(f);
    for (unsigned file = 0; file < FILES_MAX; file++)
        free(disk[file]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_durable_survives_a_power_failure_at_any_moment)};
    return cmocka_run_group_tests_name("journal/power", tests, NULL, NULL);
}
