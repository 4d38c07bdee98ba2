// Tests of the copy-on-write overlay (server/vmm/block/overlay.c): its steps, performed here one by one with
// errors and short writes of our own, against a model in memory.
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blk_fixture.h"
#include "block/overlay.h"

#define DISK_BYTES (3u << 20)
#define BASE_BYTES ((2u << 20) + 1000u) // ends within a sector
#define BLOCK      4096ull
#define SEED       11u
#define LOG_MAX    16u

static int base = -1, file = -1;
static struct block_backend *disk;

// What the disk was asked to do, and what the host answers instead of doing it.
static struct block_io io_log[LOG_MAX];
static unsigned n_logged;
static int fail_at = -1, fail_with; // the I/O with this number
static bool cut_writes;

static struct block_overlay_options options(void)
{
    return (struct block_overlay_options){.base_fd = base, .file_fd = file};
}

static void reopen(void)
{
    struct err err = {0};
    struct block_overlay_options o = options();
    block_close(disk);
    disk = NULL;
    int rc = block_overlay_open(&disk, &o, &err);
    if (rc < 0)
        print_error("%s\n", err.text);
    assert_int_equal(rc, 0);
}

static int setup(void **state)
{
    (void)state;
    struct err err;
    base = blk_file(BASE_BYTES, SEED);
    file = blk_file(0, 0);
    n_logged = 0;
    fail_at = -1;
    cut_writes = false;
    struct block_overlay_options o = options();
    assert_int_equal(block_overlay_format(&o, DISK_BYTES, BLOCK, &err), 0);
    reopen();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    block_close(disk);
    disk = NULL;
    close(base);
    close(file);
    return 0;
}

static int64_t perform(const struct block_io *io)
{
    if (n_logged < LOG_MAX)
        io_log[n_logged] = *io;
    if ((int)n_logged++ == fail_at)
        return fail_with;
    struct iovec one = io->n_iov > 0 ? io->iov[0] : (struct iovec){0};
    unsigned n = io->n_iov;
    const struct iovec *iov = io->iov;
    if (io->opcode == BLOCK_IO_WRITE && cut_writes && one.iov_len > BLOCK && rand() % 2) {
        one.iov_len = BLOCK + (size_t)rand() % (one.iov_len - BLOCK);
        iov = &one;
        n = 1;
    }
    ssize_t rc = 0;
    switch (io->opcode) {
    case BLOCK_IO_READ:
        rc = preadv(io->fd, iov, (int)n, (off_t)io->offset);
        break;
    case BLOCK_IO_WRITE:
        rc = pwritev(io->fd, iov, (int)n, (off_t)io->offset);
        break;
    case BLOCK_IO_SYNC:
        rc = fdatasync(io->fd);
        break;
    case BLOCK_IO_FALLOCATE:
        rc = fallocate(io->fd, io->mode, (off_t)io->offset, (off_t)io->bytes);
        break;
    }
    return rc < 0 ? -errno : rc;
}

static struct block_task *task_new(enum block_kind kind, uint64_t offset, uint64_t bytes, void *data)
{
    struct block_task *task = calloc(1, sizeof *task);
    assert_non_null(task);
    *task = (struct block_task){.kind = kind, .offset = offset, .bytes = bytes};
    if (data) { // in two buffers
        uint64_t first = bytes / 3 + 1;
        task->iov[0] = (struct iovec){.iov_base = data, .iov_len = first};
        task->iov[1] = (struct iovec){.iov_base = (uint8_t *)data + first, .iov_len = bytes - first};
        task->n_iov = 2;
    }
    return task;
}

// One step. 1: there may be more, 0: done, or -errno.
static int step(struct block_task *task)
{
    int rc = disk->ops->next(disk, task, &task->io);
    assert_int_not_equal(rc, BLOCK_WAIT);
    if (rc != BLOCK_SUBMIT)
        return rc;
    rc = disk->ops->done(disk, task, perform(&task->io));
    return rc < 0 ? rc : 1;
}

static int finish(struct block_task *task)
{
    int rc;
    while ((rc = step(task)) > 0)
        ;
    disk->ops->end(disk, task);
    free(task);
    return rc;
}

static int run(enum block_kind kind, uint64_t offset, uint64_t bytes, void *data)
{
    return finish(task_new(kind, offset, bytes, data));
}

static void assert_disk_has(uint64_t offset, const uint8_t *expected, uint64_t bytes)
{
    uint8_t *got = malloc(bytes);
    assert_int_equal(run(BLOCK_READ, offset, bytes, got), 0);
    assert_memory_equal(got, expected, bytes);
    free(got);
}

static void fill_from_image(uint8_t *out, uint64_t offset, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++)
        out[i] = offset + i < BASE_BYTES ? blk_pattern(SEED, offset + i) : 0;
}

static void a_new_overlay_reads_as_its_image_and_zeros_behind(void **state)
{
    (void)state;
    uint8_t *expected = malloc(DISK_BYTES);
    fill_from_image(expected, 0, DISK_BYTES);
    assert_int_equal(disk->bytes, DISK_BYTES);
    assert_disk_has(0, expected, DISK_BYTES);
    free(expected);
}

static void a_write_of_part_of_a_block_keeps_the_images_rest(void **state)
{
    (void)state;
    uint8_t expected[3 * BLOCK], data[1024];
    fill_from_image(expected, 0, sizeof expected);
    memset(data, 0xdd, sizeof data);
    memcpy(expected + BLOCK + 512, data, sizeof data);
    assert_int_equal(run(BLOCK_WRITE, BLOCK + 512, sizeof data, data), 0);
    assert_disk_has(0, expected, sizeof expected);
}

static void the_image_is_never_written(void **state)
{
    (void)state;
    uint8_t data[8 * BLOCK] = {1}, got[BLOCK], expected[BLOCK];
    assert_int_equal(run(BLOCK_WRITE, 512, sizeof data, data), 0);
    assert_int_equal(run(BLOCK_ZERO, 0, 64 * BLOCK, NULL), 0);
    assert_int_equal(run(BLOCK_DISCARD, 0, DISK_BYTES, NULL), 0);
    assert_int_equal(run(BLOCK_FLUSH, 0, 0, NULL), 0);
    assert_int_equal(pread(base, got, sizeof got, 0), sizeof got);
    fill_from_image(expected, 0, sizeof expected);
    assert_memory_equal(got, expected, sizeof got);
}

static void what_was_flushed_is_there_after_reopening_and_what_was_not_is_the_image(void **state)
{
    (void)state;
    uint8_t data[BLOCK], expected[BLOCK];
    memset(data, 0x77, sizeof data);
    assert_int_equal(run(BLOCK_WRITE, 0, BLOCK, data), 0);
    assert_int_equal(run(BLOCK_FLUSH, 0, 0, NULL), 0);
    assert_int_equal(run(BLOCK_WRITE, 9 * BLOCK, BLOCK, data), 0);
    reopen();
    assert_disk_has(0, data, BLOCK);
    fill_from_image(expected, 9 * BLOCK, BLOCK);
    assert_disk_has(9 * BLOCK, expected, BLOCK);
}

static void stale_bytes_of_an_unflushed_block_never_come_back(void **state)
{
    (void)state;
    uint8_t data[BLOCK], expected[BLOCK];
    memset(data, 0x77, sizeof data);
    assert_int_equal(run(BLOCK_WRITE, 5 * BLOCK, BLOCK, data), 0);
    reopen(); // the file has the data, but no bit
    fill_from_image(expected, 5 * BLOCK, BLOCK);
    memset(expected, 0x55, 512);
    memset(data, 0x55, 512);
    assert_int_equal(run(BLOCK_WRITE, 5 * BLOCK, 512, data), 0);
    assert_disk_has(5 * BLOCK, expected, BLOCK);
    assert_int_equal(run(BLOCK_ZERO, 6 * BLOCK, BLOCK, NULL), 0);
    memset(expected, 0, sizeof expected);
    assert_disk_has(6 * BLOCK, expected, BLOCK);
}

static void a_flush_syncs_data_then_writes_the_bitmap_then_syncs_it(void **state)
{
    (void)state;
    uint8_t data[BLOCK] = {1};
    run(BLOCK_WRITE, 0, BLOCK, data);
    n_logged = 0;
    assert_int_equal(run(BLOCK_FLUSH, 0, 0, NULL), 0);
    assert_int_equal(n_logged, 3);
    assert_int_equal(io_log[0].opcode, BLOCK_IO_SYNC);
    assert_int_equal(io_log[1].opcode, BLOCK_IO_WRITE);
    assert_int_equal(io_log[1].offset, OVERLAY_HEADER_BYTES);
    assert_int_equal(io_log[2].opcode, BLOCK_IO_SYNC);
    n_logged = 0;
    run(BLOCK_WRITE, 0, BLOCK, data); // the bit is in the file already
    n_logged = 0;
    assert_int_equal(run(BLOCK_FLUSH, 0, 0, NULL), 0);
    assert_int_equal(n_logged, 1);
}

static void a_write_during_a_flush_is_not_in_its_bitmap_but_in_the_next(void **state)
{
    (void)state;
    uint8_t data[BLOCK] = {1}, bits;
    run(BLOCK_WRITE, 0, BLOCK, data);
    struct block_task *flush = task_new(BLOCK_FLUSH, 0, 0, NULL);
    assert_int_equal(step(flush), 1); // the data of block 0 is durable
    run(BLOCK_WRITE, BLOCK, BLOCK, data);
    assert_int_equal(finish(flush), 0);
    assert_int_equal(pread(file, &bits, 1, OVERLAY_HEADER_BYTES), 1);
    assert_int_equal(bits, 1);
    assert_int_equal(run(BLOCK_FLUSH, 0, 0, NULL), 0);
    assert_int_equal(pread(file, &bits, 1, OVERLAY_HEADER_BYTES), 1);
    assert_int_equal(bits, 3);
}

static void after_a_failed_sync_every_flush_fails(void **state)
{
    (void)state;
    uint8_t data[BLOCK] = {1};
    run(BLOCK_WRITE, 0, BLOCK, data);
    n_logged = 0;
    fail_at = 0;
    fail_with = -EIO;
    assert_int_equal(run(BLOCK_FLUSH, 0, 0, NULL), -EIO);
    assert_int_equal(run(BLOCK_FLUSH, 0, 0, NULL), -EIO);
    assert_int_equal(n_logged, 1); // no second sync that would lie
    assert_disk_has(0, data, BLOCK);
}

static void a_failed_write_of_the_bitmap_is_made_up_for(void **state)
{
    (void)state;
    uint8_t data[BLOCK] = {1}, bits = 0;
    run(BLOCK_WRITE, 0, BLOCK, data);
    n_logged = 0;
    fail_at = 1;
    fail_with = -ENOSPC;
    assert_int_equal(run(BLOCK_FLUSH, 0, 0, NULL), -ENOSPC);
    assert_int_equal(run(BLOCK_FLUSH, 0, 0, NULL), 0);
    assert_int_equal(pread(file, &bits, 1, OVERLAY_HEADER_BYTES), 1);
    assert_int_equal(bits, 1);
}

static void a_write_without_space_fails_and_leaves_the_image_visible(void **state)
{
    (void)state;
    uint8_t data[2 * BLOCK] = {1}, expected[2 * BLOCK];
    fill_from_image(expected, 0, sizeof expected);
    n_logged = 0;
    fail_at = 0;
    fail_with = -ENOSPC;
    assert_int_equal(run(BLOCK_WRITE, 0, sizeof data, data), -ENOSPC);
    assert_disk_has(0, expected, sizeof expected);
    n_logged = 0;
    fail_at = 1; // the copy-up's write
    assert_int_equal(run(BLOCK_WRITE, 512, 512, data), -ENOSPC);
    assert_disk_has(0, expected, sizeof expected);
}

static void where_fallocate_is_not_possible_zeros_are_written(void **state)
{
    (void)state;
    uint8_t *expected = malloc(DISK_BYTES);
    fill_from_image(expected, 0, DISK_BYTES);
    memset(expected + BLOCK + 512, 0, 50 * BLOCK);
    n_logged = 0;
    fail_at = 2; // after the first block's copy-up
    fail_with = -EOPNOTSUPP;
    assert_int_equal(run(BLOCK_ZERO, BLOCK + 512, 50 * BLOCK, NULL), 0);
    assert_disk_has(0, expected, DISK_BYTES);
    free(expected);
}

static void tasks_on_the_same_block_wait_for_each_other_and_others_do_not(void **state)
{
    (void)state;
    uint8_t data[BLOCK] = {1};
    struct block_io io;
    struct block_task *first = task_new(BLOCK_WRITE, 0, 512, data);
    struct block_task *second = task_new(BLOCK_WRITE, 512, 512, data);
    struct block_task *other = task_new(BLOCK_WRITE, 7 * BLOCK, 512, data);
    struct block_task *flush = task_new(BLOCK_FLUSH, 0, 0, NULL);
    assert_int_equal(disk->ops->next(disk, first, &io), BLOCK_SUBMIT);
    assert_int_equal(disk->ops->next(disk, second, &io), BLOCK_WAIT);
    assert_int_equal(disk->ops->next(disk, other, &io), BLOCK_SUBMIT);
    assert_int_equal(disk->ops->next(disk, flush, &io), BLOCK_SUBMIT);
    assert_int_equal(disk->ops->next(disk, second, &io), BLOCK_WAIT);
    disk->ops->end(disk, first); // given up
    assert_int_equal(disk->ops->next(disk, second, &io), BLOCK_SUBMIT);
    struct block_task *all[] = {second, other, flush};
    for (unsigned i = 0; i < 3; i++) {
        disk->ops->end(disk, all[i]);
        free(all[i]);
    }
    free(first);
}

// Thousands of tasks at random, with writes that are cut short, against plain memory.
static void random_tasks_agree_with_a_model(void **state)
{
    (void)state;
    uint8_t *model = malloc(DISK_BYTES), *data = malloc(DISK_BYTES);
    fill_from_image(model, 0, DISK_BYTES);
    cut_writes = true;
    srand(1);
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t sector = (uint64_t)rand() % (DISK_BYTES / 512);
        uint64_t n = 1 + (uint64_t)rand() % (i % 50 == 0 ? 3000 : 40);
        if (n > DISK_BYTES / 512 - sector)
            n = DISK_BYTES / 512 - sector;
        int what = rand() % 8;
        if (what < 4) {
            memset(data, rand(), n * 512);
            assert_int_equal(run(BLOCK_WRITE, sector * 512, n * 512, data), 0);
            memcpy(model + sector * 512, data, n * 512);
        } else if (what == 4) {
            struct block_task *zero = task_new(BLOCK_ZERO, sector * 512, n * 512, NULL);
            zero->unmap = rand() % 2;
            assert_int_equal(finish(zero), 0);
            memset(model + sector * 512, 0, n * 512);
        } else if (what == 5) {
            assert_int_equal(run(BLOCK_FLUSH, 0, 0, NULL), 0);
            if (rand() % 4 == 0)
                reopen();
        } else {
            assert_disk_has(sector * 512, model + sector * 512, n * 512);
        }
    }
    assert_disk_has(0, model, DISK_BYTES);
    free(model);
    free(data);
}

static void an_overlay_is_only_opened_over_its_own_image(void **state)
{
    (void)state;
    struct err err = {0};
    struct block_backend *other = NULL;
    struct block_overlay_options o = options();
    block_close(disk);
    disk = NULL;
    int image = blk_file(BASE_BYTES + 512, SEED);
    o.base_fd = image;
    assert_int_equal(block_overlay_open(&other, &o, &err), -ESTALE);
    close(image);
    // By name, where both have one.
    o = options();
    assert_int_equal(ftruncate(file, 0), 0);
    o.base_id[0] = 1;
    assert_int_equal(block_overlay_format(&o, 0, 0, &err), 0);
    o.base_id[0] = 2;
    assert_int_equal(block_overlay_open(&other, &o, &err), -ESTALE);
    assert_string_equal(err.text, "overlay: it was made over another image");
    o.base_id[0] = 1;
    assert_int_equal(block_overlay_open(&other, &o, &err), 0);
    block_close(other);
}

static void a_file_that_is_not_empty_is_not_formatted(void **state)
{
    (void)state;
    struct err err = {0};
    struct block_overlay_options o = options();
    assert_int_equal(block_overlay_format(&o, 0, 0, &err), -EEXIST);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_overlay_reads_as_its_image_and_zeros_behind),
        TEST(a_write_of_part_of_a_block_keeps_the_images_rest),
        TEST(the_image_is_never_written),
        TEST(what_was_flushed_is_there_after_reopening_and_what_was_not_is_the_image),
        TEST(stale_bytes_of_an_unflushed_block_never_come_back),
        TEST(a_flush_syncs_data_then_writes_the_bitmap_then_syncs_it),
        TEST(a_write_during_a_flush_is_not_in_its_bitmap_but_in_the_next),
        TEST(after_a_failed_sync_every_flush_fails),
        TEST(a_failed_write_of_the_bitmap_is_made_up_for),
        TEST(a_write_without_space_fails_and_leaves_the_image_visible),
        TEST(where_fallocate_is_not_possible_zeros_are_written),
        TEST(tasks_on_the_same_block_wait_for_each_other_and_others_do_not),
        TEST(random_tasks_agree_with_a_model),
        TEST(an_overlay_is_only_opened_over_its_own_image),
        TEST(a_file_that_is_not_empty_is_not_formatted),
    };
    return cmocka_run_group_tests_name("virtio/blk_overlay", tests, NULL, NULL);
}
