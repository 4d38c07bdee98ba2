// Owns the block tests' device and driver: see blk_fixture.h.
#include "blk_fixture.h"

#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        abort();
    }
}

uint8_t blk_pattern(uint8_t seed, uint64_t at)
{
    return (uint8_t)(seed + at + at / 509);
}

int blk_file(uint64_t bytes, uint8_t seed)
{
    char name[] = "/tmp/envd-blk-XXXXXX";
    int fd = mkstemp(name);
    must(fd >= 0 && unlink(name) == 0 && ftruncate(fd, (off_t)bytes) == 0, "temporary file");
    uint8_t *data = malloc(bytes + 1);
    must(data != NULL, "memory");
    for (uint64_t i = 0; i < bytes; i++)
        data[i] = blk_pattern(seed, i);
    must(seed == 0 || pwrite(fd, data, bytes, 0) == (ssize_t)bytes, "write a temporary file");
    free(data);
    return fd;
}

static void on_failed(void *arg, int error)
{
    struct blk_fixture *f = arg;
    f->failed_with = error;
}

void blk_make(struct blk_fixture *f, struct block_backend *backend, uint64_t features,
              struct virtio_blk_rate rate)
{
    struct err err = {0};
    struct virtio_blk_options options = {
        .backend = backend, .id = "a serial number", .rate = rate, .failed = on_failed, .arg = f};
    *f = (struct blk_fixture){.backend = backend};
    driver_init(&f->driver);
    if (virtio_blk_new(&f->blk, &f->driver.machine, &options, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    driver_attach(&f->driver, virtio_blk_device(f->blk));
    driver_preset(&f->driver, features);
}

void blk_start(struct blk_fixture *f, struct block_backend *backend, uint64_t features)
{
    blk_make(f, backend, features, (struct virtio_blk_rate){0});
    driver_run_loop(&f->driver);
}

void blk_stop(struct blk_fixture *f)
{
    if (!f->blk)
        return;
    driver_stop_loop(&f->driver);
    virtio_blk_free(f->blk);
    driver_done(&f->driver);
    block_close(f->backend);
    *f = (struct blk_fixture){0};
}

struct blk_request_at blk_push(struct blk_fixture *f, uint32_t type, uint64_t sector, const void *out,
                               uint32_t out_bytes, uint32_t in_bytes)
{
    const struct virtio_blk_outhdr header = {.type = type, .sector = sector};
    const uint8_t no_status = BLK_NO_STATUS;
    struct blk_request_at at = {0};
    struct driver_buffer b[4] = {
        {.gpa = driver_copy(&f->driver, &header, sizeof header), .len = sizeof header}};
    unsigned n = 1;
    if (out_bytes > 0)
        b[n++] = (struct driver_buffer){.gpa = driver_copy(&f->driver, out, out_bytes), .len = out_bytes};
    if (in_bytes > 0) {
        at.data = driver_alloc(&f->driver, in_bytes);
        b[n++] = (struct driver_buffer){.gpa = at.data, .len = in_bytes, .writable = true};
    }
    at.status = driver_copy(&f->driver, &no_status, 1);
    b[n++] = (struct driver_buffer){.gpa = at.status, .len = 1, .writable = true};
    at.head = driver_push(&f->driver, 0, b, n);
    return at;
}

uint8_t blk_status(struct blk_fixture *f, const struct blk_request_at *at)
{
    return *(const volatile uint8_t *)driver_at(&f->driver, at->status, 1);
}

uint8_t blk_do(struct blk_fixture *f, uint32_t type, uint64_t sector, const void *out, uint32_t out_bytes,
               void *in, uint32_t in_bytes, uint32_t *ret_used)
{
    uint16_t head;
    uint32_t used;
    f->driver.heap = DRIVER_HEAP_GPA;
    struct blk_request_at at = blk_push(f, type, sector, out, out_bytes, in_bytes);
    driver_kick(&f->driver, 0);
    must(driver_wait_used(&f->driver, 0, &head, &used) && head == at.head, "a completion");
    if (in_bytes > 0)
        memcpy(in, driver_at(&f->driver, at.data, in_bytes), in_bytes);
    if (ret_used)
        *ret_used = used;
    return blk_status(f, &at);
}

uint8_t blk_do_range(struct blk_fixture *f, uint32_t type, uint64_t sector, uint32_t n_sectors,
                     uint32_t flags)
{
    const struct virtio_blk_discard_write_zeroes range = {
        .sector = sector, .num_sectors = n_sectors, .flags = flags};
    return blk_do(f, type, 0, &range, sizeof range, NULL, 0, NULL);
}
