// Tests of the live console (server/vmm/console_attach.c), over a real console device and loop.
#include "testing.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "console_attach.h"
#include "driver.h"

enum { RX = 0, TX = 1 };

static struct driver driver;
static struct virtio_console *console;
static struct console_attach *attach;
static int watcher;

static void sink(void *arg, const uint8_t *untrusted_data, size_t len)
{
    (void)arg;
    console_attach_output(attach, untrusted_data, len);
}

static int setup(void **state)
{
    (void)state;
    struct err err;
    driver_init(&driver);
    if (virtio_console_new(&console, &driver.machine, sink, NULL, &err) < 0 ||
        console_attach_new(&attach, driver.loop, console, &err) < 0)
        return -1;
    driver_attach(&driver, virtio_console_device(console));
    driver_preset(&driver, VIRTIO_VERSION_1);
    return console_attach_open(attach, &watcher, &err);
}

static int teardown(void **state)
{
    (void)state;
    driver_stop_loop(&driver);
    console_attach_free(attach);
    virtio_console_free(console);
    driver_done(&driver);
    close(watcher);
    return 0;
}

// Reads exactly len bytes, or up to the end of the stream; waits up to 5 s for each piece.
static size_t watch(int fd, char *out, size_t len)
{
    size_t done = 0;
    while (done < len) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 5000) != 1)
            break;
        ssize_t n = read(fd, out + done, len - done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done;
}

static void print(const char *text)
{
    driver_push_out(&driver, TX, text, (uint32_t)strlen(text));
    virtio_device_process(driver.dev, TX);
}

static void a_watcher_sees_what_is_written_from_now_on(void **state)
{
    (void)state;
    char seen[7];
    print("login: ");
    assert_int_equal(watch(watcher, seen, 7), 7);
    assert_memory_equal(seen, "login: ", 7);
}

static void what_is_typed_reaches_the_guest(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    driver_push_in(&driver, RX, DRIVER_HEAP_GPA, 64);
    driver_run_loop(&driver);
    assert_int_equal(write(watcher, "root\n", 5), 5);
    assert_true(driver_wait_used(&driver, RX, &head, &len));
    assert_int_equal(len, 5);
    assert_memory_equal(driver_at(&driver, DRIVER_HEAP_GPA, 5), "root\n", 5);
}

static void what_is_typed_waits_for_a_guest_without_room(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    driver_run_loop(&driver);
    assert_int_equal(write(watcher, "0123456789", 10), 10);
    usleep(20000);
    for (unsigned i = 0; i < 5; i++) {
        char expected[] = {(char)('0' + 2 * i), (char)('1' + 2 * i)};
        driver_push_in(&driver, RX, DRIVER_HEAP_GPA, 2);
        driver_write(&driver, 0x050, RX);
        assert_true(driver_wait_used(&driver, RX, &head, &len));
        assert_int_equal(len, 2);
        assert_memory_equal(driver_at(&driver, DRIVER_HEAP_GPA, 2), expected, 2);
    }
}

static void what_was_typed_before_leaving_still_reaches_the_guest(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len, sum = 0;
    char typed[10000];
    memset(typed, 't', sizeof typed);
    driver_run_loop(&driver);
    assert_int_equal(write(watcher, typed, sizeof typed), sizeof typed);
    close(watcher);
    watcher = -1;
    usleep(20000);
    while (sum < sizeof typed) {
        driver_push_in(&driver, RX, DRIVER_HEAP_GPA, 4000);
        driver_write(&driver, 0x050, RX);
        assert_true(driver_wait_used(&driver, RX, &head, &len));
        sum += len;
    }
    assert_int_equal(sum, sizeof typed);
}

static void a_watcher_that_does_not_read_never_stops_the_guest_and_is_told(void **state)
{
    (void)state;
    enum { CHUNK = 4096, N = 500 };
    static char chunk[CHUNK + 1], seen[CHUNK * N + 100];
    uint16_t head;
    uint32_t len;
    memset(chunk, 'x', CHUNK);
    uint64_t gpa = driver_copy(&driver, chunk, CHUNK);
    for (unsigned i = 0; i < N; i++) {
        driver_push(&driver, TX, &(struct driver_buffer){.gpa = gpa, .len = CHUNK}, 1);
        virtio_device_process(driver.dev, TX);
        assert_true(driver_used(&driver, TX, &head, &len)); // the guest is served
    }
    driver_run_loop(&driver);
    // All that is there: its text, then what was missed, in that order.
    size_t n = 0, shown;
    unsigned long long missed = 0;
    char *note = NULL;
    while (!note) {
        size_t more = watch(watcher, seen + n, 1);
        assert_int_equal(more, 1);
        n++;
        note = seen[n - 1] == ']' ? memchr(seen, '\r', n) : NULL;
    }
    shown = (size_t)(note - seen);
    assert_int_equal(sscanf(note, " [... %llu bytes not shown]", &missed), 1);
    assert_true(missed > 0);
    assert_int_equal(shown + missed, (size_t)CHUNK * N);
    driver_stop_loop(&driver);
    print("after");
    assert_int_equal(watch(watcher, seen, 7), 7);
    assert_memory_equal(seen, "\r\nafter", 7);
}

static void a_newer_watcher_replaces_the_older(void **state)
{
    (void)state;
    struct err err;
    int newer;
    char seen[3];
    assert_int_equal(console_attach_open(attach, &newer, &err), 0);
    print("new");
    assert_int_equal(watch(newer, seen, 3), 3);
    assert_int_equal(watch(watcher, seen, 1), 0); // end of the stream
    close(newer);
}

static void nobody_watching_is_fine(void **state)
{
    (void)state;
    struct err err;
    char seen[4];
    driver_run_loop(&driver);
    close(watcher);
    usleep(20000);
    driver_stop_loop(&driver);
    print("lost");
    assert_int_equal(console_attach_open(attach, &watcher, &err), 0);
    print("seen");
    assert_int_equal(watch(watcher, seen, 4), 4);
    assert_memory_equal(seen, "seen", 4);
}

static void a_watcher_that_types_no_more_still_sees(void **state)
{
    (void)state;
    char seen[5];
    driver_run_loop(&driver);
    assert_int_equal(shutdown(watcher, SHUT_WR), 0);
    usleep(20000);
    driver_stop_loop(&driver);
    print("still");
    assert_int_equal(watch(watcher, seen, 5), 5);
}

static void output_without_a_live_console_is_fine(void **state)
{
    (void)state;
    console_attach_output(NULL, (const uint8_t *)"x", 1);
}

#define ATTACH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ATTACH_TEST(a_watcher_sees_what_is_written_from_now_on),
        ATTACH_TEST(what_is_typed_reaches_the_guest),
        ATTACH_TEST(what_is_typed_waits_for_a_guest_without_room),
        ATTACH_TEST(what_was_typed_before_leaving_still_reaches_the_guest),
        ATTACH_TEST(a_watcher_that_does_not_read_never_stops_the_guest_and_is_told),
        ATTACH_TEST(a_newer_watcher_replaces_the_older),
        ATTACH_TEST(nobody_watching_is_fine),
        ATTACH_TEST(a_watcher_that_types_no_more_still_sees),
        cmocka_unit_test(output_without_a_live_console_is_fine),
    };
    return cmocka_run_group_tests_name("vmm/console_attach", tests, NULL, NULL);
}
