// Tests of virtio-blk (server/vmm/virtio/blk.c) on raw files, through its queue.
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "blk_fixture.h"
#include "block/engine.h"
#include "block/raw.h"
#include "common/io.h"

#define DISK_BYTES (4u << 20)
#define SECTOR     512ull
#define SEED       7u

static struct blk_fixture f;
static int fd = -1;

static struct block_backend *raw(bool read_only)
{
    struct err err;
    struct block_backend *backend;
    assert_int_equal(block_raw_open(&backend, fd, read_only, &err), 0);
    return backend;
}

static int setup(void **state)
{
    (void)state;
    fd = blk_file(DISK_BYTES, SEED);
    return 0;
}

static int setup_started(void **state)
{
    setup(state);
    blk_start(&f, raw(false), BLK_ALL);
    return 0;
}

static int setup_read_only(void **state)
{
    setup(state);
    blk_start(&f, raw(true), BLK_ALL_RO);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    blk_stop(&f);
    close(fd);
    return 0;
}

static void assert_file_has(uint64_t at, const void *data, size_t len)
{
    uint8_t got[8192];
    assert_int_equal(pread(fd, got, len, (off_t)at), len);
    assert_memory_equal(got, data, len);
}

static void configuration_space_has_capacity_and_topology(void **state)
{
    (void)state;
    assert_int_equal(driver_read(&f.driver, 0x100), DISK_BYTES / 512);
    assert_int_equal(driver_read(&f.driver, 0x104), 0);
    assert_int_equal(driver_read(&f.driver, 0x100 + 12), 126);     // seg_max
    assert_int_equal(driver_read(&f.driver, 0x100 + 20), 512);     // blk_size
    assert_int_equal(driver_read(&f.driver, 0x100 + 24), 0x80003); // 2^3 sectors to a block; min_io_size 8
    assert_int_equal(driver_read(&f.driver, 0x100 + 36), 1 << 21); // max_discard_sectors
    assert_int_equal(driver_read(&f.driver, 0x100 + 56), 1);       // write_zeroes_may_unmap
    assert_int_equal(driver_read(&f.driver, 0x100 + 60), 0);       // what follows does not exist
}

static void a_read_gets_the_files_bytes(void **state)
{
    (void)state;
    uint8_t got[8192];
    uint32_t used;
    assert_int_equal(blk_do(&f, VIRTIO_BLK_T_IN, 3, NULL, 0, got, sizeof got, &used), VIRTIO_BLK_S_OK);
    for (size_t i = 0; i < sizeof got; i++)
        assert_int_equal(got[i], blk_pattern(SEED, 3 * SECTOR + i));
    assert_int_equal(used, sizeof got + 1);
    assert_int_equal(virtio_blk_counters(f.blk).reads, 1);
    assert_int_equal(virtio_blk_counters(f.blk).read_bytes, sizeof got);
}

static void a_write_reaches_the_file(void **state)
{
    (void)state;
    uint8_t data[4096];
    uint32_t used;
    memset(data, 0xa5, sizeof data);
    assert_int_equal(blk_do(&f, VIRTIO_BLK_T_OUT, 9, data, sizeof data, NULL, 0, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 1);
    assert_file_has(9 * SECTOR, data, sizeof data);
    assert_int_equal(virtio_blk_counters(f.blk).written_bytes, sizeof data);
    assert_int_equal(blk_do(&f, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, NULL, 0, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(virtio_blk_counters(f.blk).flushes, 1);
}

static void framing_is_the_drivers_own_affair(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t used;
    uint8_t request[16 + 1024];
    const struct virtio_blk_outhdr header = {.type = VIRTIO_BLK_T_OUT, .sector = 5};
    memset(request, 0x3c, sizeof request);
    memcpy(request, &header, sizeof header);
    uint64_t gpa = driver_copy(&f.driver, request, sizeof request), in = driver_alloc(&f.driver, 1025);
    const struct driver_buffer write[] = {
        {gpa, 3, false}, {gpa + 3, 100, false}, {gpa + 103, 937, false}, {in, 1, true}};
    driver_push(&f.driver, 0, write, 4);
    driver_kick(&f.driver, 0);
    assert_true(driver_wait_used(&f.driver, 0, &head, &used));
    assert_file_has(5 * SECTOR, request + 16, 1024);
    // Data and status in one buffer, then cut in the middle of both.
    ((struct virtio_blk_outhdr *)driver_at(&f.driver, gpa, 16))->type = VIRTIO_BLK_T_IN;
    const struct driver_buffer read[] = {{gpa, 16, false}, {in, 700, true}, {in + 700, 325, true}};
    driver_push(&f.driver, 0, read, 3);
    driver_kick(&f.driver, 0);
    assert_true(driver_wait_used(&f.driver, 0, &head, &used));
    assert_int_equal(used, 1025);
    assert_memory_equal(driver_at(&f.driver, in, 1024), request + 16, 1024);
    assert_int_equal(*(uint8_t *)driver_at(&f.driver, in + 1024, 1), VIRTIO_BLK_S_OK);
}

static void get_id_gives_the_serial_number(void **state)
{
    (void)state;
    char id[20];
    uint32_t used;
    assert_int_equal(blk_do(&f, VIRTIO_BLK_T_GET_ID, 0, NULL, 0, id, sizeof id, &used), VIRTIO_BLK_S_OK);
    assert_memory_equal(id, "a serial number\0\0\0\0", sizeof id);
    assert_int_equal(used, 21);
}

static void a_request_beyond_the_end_is_refused_and_the_next_one_served(void **state)
{
    (void)state;
    uint8_t data[1024] = {0};
    uint32_t used;
    assert_int_equal(blk_do(&f, VIRTIO_BLK_T_IN, DISK_BYTES / 512 - 1, NULL, 0, data, 1024, &used),
                     VIRTIO_BLK_S_IOERR);
    assert_int_equal(used, 0);
    assert_int_equal(blk_do(&f, VIRTIO_BLK_T_OUT, UINT64_MAX / 512 + 1, data, 512, NULL, 0, NULL),
                     VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_do(&f, 77, 0, data, 512, NULL, 0, NULL), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(virtio_blk_counters(f.blk).refused, 3);
    assert_int_equal(blk_do(&f, VIRTIO_BLK_T_IN, DISK_BYTES / 512 - 2, NULL, 0, data, 1024, NULL),
                     VIRTIO_BLK_S_OK);
}

static void discard_and_write_zeroes_leave_zeros(void **state)
{
    (void)state;
    static const uint8_t zeros[4096];
    assert_int_equal(blk_do_range(&f, VIRTIO_BLK_T_DISCARD, 8, 8, 0), VIRTIO_BLK_S_OK);
    assert_file_has(8 * SECTOR, zeros, 4096);
    assert_int_equal(blk_do_range(&f, VIRTIO_BLK_T_WRITE_ZEROES, 33, 3, 0), VIRTIO_BLK_S_OK);
    assert_file_has(33 * SECTOR, zeros, 3 * SECTOR);
    assert_int_equal(blk_do_range(&f, VIRTIO_BLK_T_WRITE_ZEROES, 64, 8, 1), VIRTIO_BLK_S_OK);
    assert_file_has(64 * SECTOR, zeros, 4096);
    assert_int_equal(blk_do_range(&f, VIRTIO_BLK_T_DISCARD, 8, 8, 1), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(virtio_blk_counters(f.blk).zeroes, 2);
}

static void a_read_only_disk_refuses_to_change(void **state)
{
    (void)state;
    uint8_t data[512] = {1}, was[512];
    assert_int_equal(pread(fd, was, sizeof was, 0), sizeof was);
    assert_int_equal(blk_do(&f, VIRTIO_BLK_T_OUT, 0, data, 512, NULL, 0, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_do_range(&f, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_IOERR);
    assert_file_has(0, was, sizeof was);
    assert_int_equal(blk_do(&f, VIRTIO_BLK_T_IN, 0, NULL, 0, data, 512, NULL), VIRTIO_BLK_S_OK);
}

static void a_full_queue_of_requests_is_all_served(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t used;
    for (unsigned round = 0; round < 20; round++) {
        struct blk_request_at at[4];
        f.driver.heap = DRIVER_HEAP_GPA;
        for (unsigned i = 0; i < 4; i++)
            at[i] = blk_push(&f, VIRTIO_BLK_T_IN, 8ull * i + round, NULL, 0, 4096);
        driver_kick(&f.driver, 0);
        for (unsigned i = 0; i < 4; i++)
            assert_true(driver_wait_used(&f.driver, 0, &head, &used));
        for (unsigned i = 0; i < 4; i++) {
            const uint8_t *data = driver_at(&f.driver, at[i].data, 4096);
            assert_int_equal(blk_status(&f, &at[i]), VIRTIO_BLK_S_OK);
            assert_int_equal(data[4095], blk_pattern(SEED, SECTOR * (8 * i + round) + 4095));
        }
    }
}

static void a_request_without_a_status_byte_breaks_the_device(void **state)
{
    (void)state;
    const struct virtio_blk_outhdr header = {.type = VIRTIO_BLK_T_FLUSH};
    driver_push_out(&f.driver, 0, &header, sizeof header);
    driver_kick(&f.driver, 0);
    assert_string_equal(driver_wait_broken(&f.driver), "a block request without a status byte");
}

static void a_request_shorter_than_its_header_breaks_the_device(void **state)
{
    (void)state;
    uint64_t gpa = driver_alloc(&f.driver, 32);
    const struct driver_buffer b[] = {{gpa, 15, false}, {gpa + 16, 1, true}};
    driver_push(&f.driver, 0, b, 2);
    driver_kick(&f.driver, 0);
    assert_string_equal(driver_wait_broken(&f.driver), "a block request shorter than its header");
}

// The file is cut under the device: the host cannot read what the disk should have.
static void an_error_of_the_host_is_an_io_error_counted_and_told(void **state)
{
    (void)state;
    uint8_t data[512];
    uint32_t used;
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(blk_do(&f, VIRTIO_BLK_T_IN, 100, NULL, 0, data, sizeof data, &used), VIRTIO_BLK_S_IOERR);
    assert_int_equal(used, 0);
    assert_int_equal(virtio_blk_counters(f.blk).failed, 1);
    assert_int_equal(virtio_blk_counters(f.blk).last_error, -EIO);
    assert_int_equal(f.failed_with, -EIO);
    assert_int_equal(blk_do(&f, VIRTIO_BLK_T_IN, 0, NULL, 0, data, sizeof data, NULL), VIRTIO_BLK_S_OK);
}

// A reset while requests run: when the register write returns, nothing writes to the guest any more.
static void after_a_reset_nothing_touches_the_guest(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 50; round++) {
        struct blk_request_at at[3];
        uint8_t was[3][4096] = {0};
        f.driver.heap = DRIVER_HEAP_GPA;
        for (unsigned i = 0; i < 3; i++)
            at[i] = blk_push(&f, VIRTIO_BLK_T_IN, 8ull * (round + i), NULL, 0, 4096);
        blk_push(&f, VIRTIO_BLK_T_OUT, 1024, was[0], 4096, 0);
        blk_push(&f, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, 0);
        driver_kick(&f.driver, 0);
        if (round % 2)
            usleep(20 * round);
        driver_write(&f.driver, VIRTIO_MMIO_STATUS, 0);
        for (unsigned i = 0; i < 3; i++) {
            memset(driver_at(&f.driver, at[i].data, 4096), (int)round, 4096);
            memcpy(was[i], driver_at(&f.driver, at[i].data, 4096), 4096);
        }
        usleep(500);
        for (unsigned i = 0; i < 3; i++)
            assert_memory_equal(driver_at(&f.driver, at[i].data, 4096), was[i], 4096);
        driver_clear_rings(&f.driver);
        driver_start(&f.driver, BLK_ALL);
    }
    uint8_t data[512];
    assert_int_equal(blk_do(&f, VIRTIO_BLK_T_IN, 1, NULL, 0, data, sizeof data, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(data[0], blk_pattern(SEED, 512));
}

static void without_flush_a_write_is_flushed_before_it_completes(void **state)
{
    (void)state;
    uint8_t data[512] = {9};
    blk_start(&f, raw(false), BLK_ALL & ~BLK_FEATURE(FLUSH));
    assert_int_equal(blk_do(&f, VIRTIO_BLK_T_OUT, 0, data, 512, NULL, 0, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(blk_do(&f, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, NULL, 0, NULL), VIRTIO_BLK_S_UNSUPP);
    assert_file_has(0, data, sizeof data);
}

static void the_rate_limit_holds_requests_back(void **state)
{
    (void)state;
    uint8_t data[512];
    uint64_t from_ns = io_monotonic_ns();
    // 64 requests at once, then one in 10 ms.
    blk_make(&f, raw(false), BLK_ALL, (struct virtio_blk_rate){.requests_per_s = 100});
    driver_run_loop(&f.driver);
    for (unsigned i = 0; i < 74; i++)
        blk_do(&f, VIRTIO_BLK_T_IN, i, NULL, 0, data, sizeof data, NULL);
    assert_true(io_monotonic_ns() - from_ns >= 90000000);
}

static void a_second_writer_is_refused(void **state)
{
    (void)state;
    struct err err = {0};
    struct block_backend *second = NULL;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int other = open(path, O_RDWR | O_CLOEXEC);
    assert_true(other >= 0);
    assert_int_equal(block_raw_open(&second, other, false, &err), -EBUSY);
    assert_string_equal(err.text, "disk: in use already");
    blk_stop(&f);
    assert_int_equal(block_raw_open(&second, other, false, &err), 0);
    block_close(second);
    close(other);
}

static void on_ended(void *arg, struct block_task *task, int result)
{
    (void)arg, (void)task, (void)result;
}

static void the_ring_does_nothing_but_a_disks_work(void **state)
{
    (void)state;
    struct err err;
    struct block_engine engine;
    struct io_uring_cqe *cqe;
    struct block_backend *backend = raw(true);
    assert_int_equal(engine_init(&engine, backend, on_ended, NULL, &err), 0);
    io_uring_prep_openat(io_uring_get_sqe(&engine.ring), AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0);
    io_uring_submit(&engine.ring);
    assert_int_equal(io_uring_wait_cqe(&engine.ring, &cqe), 0);
    assert_int_equal(cqe->res, -EACCES);
    io_uring_cqe_seen(&engine.ring, cqe);
    engine_done(&engine);
    block_close(backend);
}

static void what_is_no_disk_is_refused(void **state)
{
    (void)state;
    struct err err = {0};
    struct block_backend *backend = NULL;
    int pipes[2], tiny = blk_file(511, 0);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(block_raw_open(&backend, pipes[0], true, &err), -EINVAL);
    assert_int_equal(block_raw_open(&backend, tiny, true, &err), -EINVAL);
    assert_string_equal(err.text, "disk: 511 bytes are no size for a disk");
    close(pipes[0]);
    close(pipes[1]);
    close(tiny);
}

#define STARTED(test)   cmocka_unit_test_setup_teardown(test, setup_started, teardown)
#define READ_ONLY(test) cmocka_unit_test_setup_teardown(test, setup_read_only, teardown)
#define BARE(test)      cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(configuration_space_has_capacity_and_topology),
        STARTED(a_read_gets_the_files_bytes),
        STARTED(a_write_reaches_the_file),
        STARTED(framing_is_the_drivers_own_affair),
        STARTED(get_id_gives_the_serial_number),
        STARTED(a_request_beyond_the_end_is_refused_and_the_next_one_served),
        STARTED(discard_and_write_zeroes_leave_zeros),
        READ_ONLY(a_read_only_disk_refuses_to_change),
        STARTED(a_full_queue_of_requests_is_all_served),
        STARTED(a_request_without_a_status_byte_breaks_the_device),
        STARTED(a_request_shorter_than_its_header_breaks_the_device),
        STARTED(an_error_of_the_host_is_an_io_error_counted_and_told),
        STARTED(after_a_reset_nothing_touches_the_guest),
        BARE(without_flush_a_write_is_flushed_before_it_completes),
        BARE(the_rate_limit_holds_requests_back),
        STARTED(a_second_writer_is_refused),
        BARE(the_ring_does_nothing_but_a_disks_work),
        BARE(what_is_no_disk_is_refused),
    };
    return cmocka_run_group_tests_name("virtio/blk", tests, NULL, NULL);
}
