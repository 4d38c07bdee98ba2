// A child appends and forgets, and is killed at a random moment, again and again in one folder. The parent
// knows what was said to be durable and what was to be forgotten, and finds exactly that.
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 40

enum fate { UNKNOWN, APPENDED, DURABLE, FORGOTTEN };

struct note { // what the child says over the pipe, atomically
    uint64_t number;
    uint64_t fate;
};

static uint8_t fates[NUMBER_MAX];
static uint64_t next_number = 1;
static int pipe_fd;
static uint64_t rng_state;

static uint64_t rng(void)
{
    rng_state = rng_state * 6364136223846793005ull + 1442695040888963407ull;
    return rng_state >> 33;
}

static void say(uint64_t number, enum fate fate)
{
    const struct note note = {number, fate};
    if (write(pipe_fd, &note, sizeof note) != (ssize_t)sizeof note)
        _exit(1);
}

static void on_done(struct fixture *f, uint64_t number, int rc)
{
    (void)f;
    if (rc == 0)
        say(number, DURABLE);
}

// Appends in bursts, keeps some hundred, forgets at random.
static void work(struct fixture *f)
{
    uint64_t *kept = calloc(NUMBER_MAX, sizeof *kept);
    size_t n_kept = 0;
    fixture_open(f);
    f->on_done = on_done;
    for (size_t i = 0; i < f->n_found; i++)
        if (f->found[i].live)
            kept[n_kept++] = f->found[i].number;
    for (;;) {
        unsigned burst = 1 + (unsigned)(rng() % 30);
        for (unsigned i = 0; i < burst && next_number < NUMBER_MAX; i++) {
            kept[n_kept++] = next_number;
            say(next_number, APPENDED);
            if (fixture_append(f, next_number++, 8 + rng() % (rng() % 8 == 0 ? 6000 : 300)) < 0)
                _exit(1);
        }
        while (n_kept > 300) {
            size_t i = rng() % n_kept;
            say(kept[i], FORGOTTEN);
            fixture_forget(f, kept[i]);
            kept[i] = kept[--n_kept];
        }
        event_base_loop(f->base, rng() % 2 ? EVLOOP_ONCE : EVLOOP_NONBLOCK);
    }
}

static void take_notes(int fd)
{
    struct note note;
    ssize_t n;
    while ((n = read(fd, &note, sizeof note)) == (ssize_t)sizeof note) {
        if (note.fate > fates[note.number])
            fates[note.number] = (uint8_t)note.fate;
        if (note.number >= next_number)
            next_number = note.number + 1;
    }
}

static void run_and_kill(struct fixture *f)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(fds[0]);
        pipe_fd = fds[1];
        f->base = event_base_new();
        work(f);
        _exit(0);
    }
    close(fds[1]);
    fcntl(fds[0], F_SETPIPE_SZ, 1 << 20);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    for (uint64_t ms = 5 + rng() % 120; ms > 0; ms--) {
        usleep(1000);
        take_notes(fds[0]);
    }
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    take_notes(fds[0]);
    close(fds[0]);
}

static void check(struct fixture *f)
{
    static bool seen[NUMBER_MAX];
    memset(seen, 0, sizeof seen);
    fixture_open(f);
    // The kernel ends a write that it is in the middle of.
    if (f->damages > 1 || (f->damages == 1 && !strstr(f->damage, "torn")))
        fail_msg("%s", f->damage);
    uint64_t last_seq = 0;
    for (size_t i = 0; i < f->n_found; i++) {
        const struct found *r = &f->found[i];
        assert_true(r->seq > last_seq);
        last_seq = r->seq;
        if (!r->live)
            continue;
        assert_true(r->intact);
        assert_false(seen[r->number]);
        seen[r->number] = true;
        if (fates[r->number] == UNKNOWN)
            fail_msg("record %u was never appended", (unsigned)r->number);
        if (fates[r->number] == APPENDED)
            fates[r->number] = DURABLE; // it was found once: it stays
    }
    for (uint64_t n = 1; n < next_number; n++) {
        if (fates[n] == DURABLE && !seen[n])
            fail_msg("record %u was durable and is lost", (unsigned)n);
        if (fates[n] == FORGOTTEN && !seen[n])
            fates[n] = UNKNOWN; // gone for good
        if (fates[n] == APPENDED && !seen[n])
            fates[n] = UNKNOWN;
    }
    fixture_close(f);
}

static void nothing_durable_is_lost_to_sigkill_at_any_moment(void **state)
{
    (void)state;
    const char *seed = getenv("ENVD_SEED");
    rng_state = seed ? strtoull(seed, NULL, 0) : 20260417;
    print_message("seed %llu (set ENVD_SEED)\n", (unsigned long long)rng_state);
    struct fixture *f = fixture_new();
    for (unsigned round = 0; round < ROUNDS; round++) {
        rng();
        run_and_kill(f);
        check(f);
    }
    print_message("%llu records in %u rounds\n", (unsigned long long)next_number - 1, ROUNDS);
    assert_true(next_number > 1000);
    fixture_free(f);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_durable_is_lost_to_sigkill_at_any_moment)};
    return cmocka_run_group_tests_name("journal/kill", tests, NULL, NULL);
}
