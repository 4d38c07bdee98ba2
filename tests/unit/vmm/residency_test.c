// Tests of how much of a guest's memory is said to be there (server/vmm/residency.c), on this process's own
// pages. The kernel's count lags, and this process allocates too: SLACK.
#include "testing.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory.h"
#include "residency.h"

#define MIB   (1ull << 20)
#define SLACK (4 * MIB)
#define SIZE  (256 * MIB)

struct fixture {
    int statm_fd;
    struct guest_memory mem;
    struct residency residency;
};

static struct fixture f;

static int setup(void **state)
{
    (void)state;
    struct err err;
    f.statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    residency_init(&f.residency, f.statm_fd);
    return f.statm_fd < 0 ? -1 : guest_memory_init(&f.mem, SIZE, GUEST_MEMORY_SMALL_PAGES, &err);
}

static int teardown(void **state)
{
    (void)state;
    guest_memory_done(&f.mem);
    close(f.statm_fd);
    return 0;
}

static void assert_about(uint64_t bytes, uint64_t expected)
{
    assert_in_range(bytes, expected > SLACK ? expected - SLACK : 0, expected + SLACK);
}

static void touch(uint64_t bytes)
{
    memset(f.mem.hva, 1, bytes);
}

static void untouched_memory_is_not_there(void **state)
{
    (void)state;
    assert_about(residency_guest_bytes(&f.residency, SIZE), 0);
}

static void memory_is_there_once_it_is_touched(void **state)
{
    (void)state;
    touch(64 * MIB);
    assert_about(residency_guest_bytes(&f.residency, SIZE), 64 * MIB);
}

static void memory_given_back_is_gone_again(void **state)
{
    (void)state;
    touch(64 * MIB);
    assert_int_equal(madvise(f.mem.hva, 48 * MIB, MADV_DONTNEED), 0);
    assert_about(residency_guest_bytes(&f.residency, SIZE), 16 * MIB);
}

static void files_that_are_mapped_are_not_the_guest_s(void **state)
{
    (void)state;
    int fd = memfd_create("file", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 64 * MIB), 0);
    uint8_t *p = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    memset(p, 1, 64 * MIB);
    assert_about(residency_guest_bytes(&f.residency, SIZE), 0);
    munmap(p, 64 * MIB);
    close(fd);
}

static void there_is_never_more_than_the_guest_has(void **state)
{
    (void)state;
    touch(64 * MIB);
    assert_int_equal(residency_guest_bytes(&f.residency, 8 * MIB), 8 * MIB);
}

static void nobody_can_tell_without_the_descriptor(void **state)
{
    (void)state;
    residency_init(&f.residency, -1);
    touch(64 * MIB);
    assert_int_equal(residency_guest_bytes(&f.residency, SIZE), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(untouched_memory_is_not_there),          CASE(memory_is_there_once_it_is_touched),
        CASE(memory_given_back_is_gone_again),        CASE(files_that_are_mapped_are_not_the_guest_s),
        CASE(there_is_never_more_than_the_guest_has), CASE(nobody_can_tell_without_the_descriptor),
    };
    return cmocka_run_group_tests_name("vmm/residency", tests, NULL, NULL);
}
