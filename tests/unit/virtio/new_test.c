// Tests of what is left of devices that could not be made: nothing, and an error that says why.
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "driver.h"
#include "blk_fixture.h"
#include "block/raw.h"
#include "virtio/balloon.h"
#include "virtio/blk.h"
#include "virtio/console.h"
#include "virtio/net.h"
#include "virtio/rng.h"
#include "virtio/vsock.h"

static struct driver driver;
static int disk_fd;
static struct block_backend *disk;

static int make_console(struct err *err)
{
    struct virtio_console *made = NULL;
    int rc = virtio_console_new(&made, &driver.machine, NULL, NULL, err);
    virtio_console_free(made);
    return rc;
}

static int make_balloon(struct err *err)
{
    struct virtio_balloon *made = NULL;
    int rc = virtio_balloon_new(&made, &driver.machine, err);
    virtio_balloon_free(made);
    return rc;
}

static int make_rng(struct err *err)
{
    struct virtio_rng *made = NULL;
    int rc = virtio_rng_new(&made, &driver.machine, 0, err);
    virtio_rng_free(made);
    return rc;
}

static int make_vsock(struct err *err)
{
    struct virtio_vsock *made = NULL;
    int rc = virtio_vsock_new(&made, &driver.machine, &(struct virtio_vsock_options){.guest_cid = 3}, err);
    virtio_vsock_free(made);
    return rc;
}

static int make_net(struct err *err)
{
    struct virtio_net *made = NULL;
    int rc = virtio_net_new(&made, &driver.machine, &(struct virtio_net_options){.tap_fd = 0}, err);
    virtio_net_free(made);
    return rc;
}

static int make_blk(struct err *err)
{
    struct virtio_blk *made = NULL;
    int rc = virtio_blk_new(&made, &driver.machine, &(struct virtio_blk_options){.backend = disk}, err);
    virtio_blk_free(made);
    return rc;
}

static unsigned open_descriptors(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

// Lets the process have ever more descriptors, until the device can be made. text: of the first failure.
static void assert_fails_cleanly(int make(struct err *err), const char *text)
{
    struct rlimit old, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    unsigned before = open_descriptors(), failures = 0;
    int first_free = dup(0);
    close(first_free);
    few = old;
    for (few.rlim_cur = (rlim_t)first_free; few.rlim_cur < 256; few.rlim_cur++) {
        struct err err = {0};
        setrlimit(RLIMIT_NOFILE, &few);
        int rc = make(&err);
        setrlimit(RLIMIT_NOFILE, &old);
        assert_int_equal(open_descriptors(), before);
        if (rc == 0)
            break;
        assert_int_equal(rc, -EMFILE);
        if (failures == 0)
            assert_string_equal(err.text, text);
        assert_non_null(strstr(err.text, ": Too many open files"));
        failures++;
    }
    assert_true(failures > 0);
}

static void a_device_without_descriptors_fails_and_leaves_nothing(void **state)
{
    (void)state;
    assert_fails_cleanly(make_console, "virtio-console: make a doorbell: Too many open files");
    assert_fails_cleanly(make_balloon, "virtio-balloon: make a doorbell: Too many open files");
    assert_fails_cleanly(make_rng, "virtio-rng: make a doorbell: Too many open files");
    assert_fails_cleanly(make_vsock, "virtio-vsock: make a doorbell: Too many open files");
    assert_fails_cleanly(make_net, "virtio-net: make a doorbell: Too many open files");
    assert_fails_cleanly(make_blk, "virtio-blk: make a doorbell: Too many open files");
}

static int setup(void **state)
{
    (void)state;
    struct err err;
    driver_init(&driver);
    disk_fd = blk_file(4096, 0);
    return block_raw_open(&disk, disk_fd, false, &err);
}

static int teardown(void **state)
{
    (void)state;
    driver_done(&driver);
    block_close(disk);
    close(disk_fd);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_device_without_descriptors_fails_and_leaves_nothing, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("virtio/new", tests, NULL, NULL);
}
