// Tests of what is left of an overlay whose process was killed at any instant (virtio/blk.c on
// block/overlay.c): a child writes and flushes through the whole device, is killed, and the file is opened
// again.
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blk_fixture.h"
#include "block/overlay.h"

#define DISK_BYTES  (1u << 20)
#define SECTORS     (DISK_BYTES / 512)
#define KILLS       12u
#define PER_ROUND   6u // writes between two flushes
#define ROUNDS      4000u
#define ALARM_S     50u
#define IMAGE_ROUND 0u

static int base = -1, file = -1;
// Of each sector: the round that wrote it, as of the last flush that was acknowledged.
static uint32_t durable[SECTORS];

static struct block_backend *open_disk(int overlay)
{
    struct err err;
    struct block_backend *disk;
    struct block_overlay_options o = {.base_fd = base, .file_fd = overlay};
    if (block_overlay_open(&disk, &o, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    return disk;
}

// What write i of a round is.
static void plan(uint32_t round, unsigned i, uint64_t *ret_sector, uint32_t *ret_n)
{
    uint32_t x = (round * PER_ROUND + i) * 2654435761u;
    *ret_n = 1 + (x >> 8) % 24;
    *ret_sector = (x >> 13) % (SECTORS - *ret_n);
}

static void stamp(uint8_t *data, uint64_t sector, uint32_t n, uint32_t round)
{
    for (uint32_t i = 0; i < n * 512; i += 8) {
        uint64_t word = (uint64_t)round << 32 | (sector + i / 512);
        memcpy(data + i, &word, sizeof word);
    }
}

// The child. Does not return.
static void write_rounds(uint32_t first_round, int acknowledge)
{
    struct blk_fixture f;
    char path[64];
    alarm(ALARM_S);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int own = open(path, O_RDWR | O_CLOEXEC); // a lock of its own
    blk_start(&f, open_disk(own), BLK_ALL);
    for (uint32_t round = first_round; round < first_round + ROUNDS; round++) {
        for (unsigned i = 0; i < PER_ROUND; i++) {
            uint8_t data[24 * 512];
            uint64_t sector;
            uint32_t n;
            plan(round, i, &sector, &n);
            stamp(data, sector, n, round);
            if (blk_do(&f, VIRTIO_BLK_T_OUT, sector, data, n * 512, NULL, 0, NULL) != VIRTIO_BLK_S_OK)
                _exit(1);
        }
        if (blk_do(&f, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, NULL, 0, NULL) != VIRTIO_BLK_S_OK)
            _exit(1);
        if (write(acknowledge, &round, sizeof round) != sizeof round)
            _exit(1);
    }
    _exit(0);
}

// The last acknowledged round, 0 for none.
static uint32_t run_and_kill(uint32_t first_round, useconds_t after_us)
{
    int pipes[2];
    uint32_t round, last = 0;
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        write_rounds(first_round, pipes[1]);
    close(pipes[1]);
    assert_int_equal(read(pipes[0], &last, sizeof last), sizeof last); // it is under way
    usleep(after_us);
    kill(child, SIGKILL);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    while (read(pipes[0], &round, sizeof round) == sizeof round)
        last = round;
    close(pipes[0]);
    return last;
}

static void note_round(uint32_t *rounds, uint32_t round)
{
    for (unsigned i = 0; i < PER_ROUND; i++) {
        uint64_t sector;
        uint32_t n;
        plan(round, i, &sector, &n);
        for (uint32_t s = 0; s < n; s++)
            rounds[sector + s] = round;
    }
}

// Which round a sector on the disk is of; it must be of one, wholly.
static uint32_t round_of(const uint8_t *data, uint64_t sector)
{
    uint64_t words[64];
    memcpy(words, data, sizeof words);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(words[i], words[0]);
    assert_int_equal((uint32_t)words[0], words[0] >> 32 == IMAGE_ROUND ? 0 : sector);
    return (uint32_t)(words[0] >> 32);
}

// Each sector is as of the last acknowledged flush, or as the round that was under way left it.
static void assert_all_flushed_is_there(uint32_t last)
{
    static uint8_t data[DISK_BYTES];
    static uint32_t next[SECTORS];
    struct blk_fixture f;
    memcpy(next, durable, sizeof next);
    note_round(next, last + 1);
    blk_start(&f, open_disk(file), BLK_ALL);
    for (uint64_t at = 0; at < SECTORS; at += 64)
        assert_int_equal(blk_do(&f, VIRTIO_BLK_T_IN, at, NULL, 0, data + at * 512, 64 * 512, NULL),
                         VIRTIO_BLK_S_OK);
    blk_stop(&f);
    for (uint64_t s = 0; s < SECTORS; s++) {
        uint32_t round = round_of(data + s * 512, s);
        assert_true(round == durable[s] || round == next[s]);
        durable[s] = round;
    }
}

static void what_was_flushed_survives_kills_at_any_instant(void **state)
{
    (void)state;
    struct err err;
    uint32_t first = 1;
    struct block_overlay_options o = {.base_fd = base, .file_fd = file};
    assert_int_equal(block_overlay_format(&o, 0, 0, &err), 0);
    for (unsigned i = 0; i < KILLS; i++) {
        uint32_t last = run_and_kill(first, i * 1700u);
        for (uint32_t round = first; round <= last; round++)
            note_round(durable, round);
        assert_all_flushed_is_there(last);
        first = last + 2;
    }
}

static int setup(void **state)
{
    (void)state;
    base = blk_file(DISK_BYTES, 0);
    file = blk_file(0, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    close(base);
    close(file);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_flushed_survives_kills_at_any_instant, setup, teardown),
    };
    return cmocka_run_group_tests_name("virtio/blk_kill", tests, NULL, NULL);
}
