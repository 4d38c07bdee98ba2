// Tests of virtio-balloon (server/vmm/virtio/balloon.c).
#include "testing.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "driver.h"
#include "virtio/balloon.h"

enum { INFLATE = 0, DEFLATE = 1, REPORT_PACKED = 2, REPORT = 4 };

#define PAGE          4096u
#define CONFIG        0x100u
#define FIRST_PFN     18u // behind the rings and the heap
#define MANY          0x1400u
#define F_PAGE_POISON (1u << 4)
#define F_REPORTING   (1u << 5)
#define ALL_FEATURES  (driver.dev->ops->features)
#define MEMORY_PAGES  (DRIVER_MEMORY_BYTES / PAGE)

static struct driver driver;
static struct virtio_balloon *balloon;

static int setup(void **state)
{
    (void)state;
    struct err err;
    driver_init(&driver);
    if (virtio_balloon_new(&balloon, &driver.machine, &err) < 0)
        return -1;
    driver_attach(&driver, virtio_balloon_device(balloon));
    driver_start(&driver, ALL_FEATURES);
    for (uint32_t pfn = FIRST_PFN; pfn < MEMORY_PAGES; pfn++)
        memset(driver_at(&driver, (uint64_t)pfn * PAGE, PAGE), 0xab, PAGE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    virtio_balloon_free(balloon);
    driver_done(&driver);
    return 0;
}

// What is resident, by the kernel's count, not by looking at it.
static bool is_there(uint32_t pfn)
{
    unsigned char there;
    assert_int_equal(mincore(driver_at(&driver, (uint64_t)pfn * PAGE, PAGE), PAGE, &there), 0);
    return there & 1;
}

static void inflate(const uint32_t *pfns, unsigned n)
{
    driver_push_out(&driver, INFLATE, pfns, n * (uint32_t)sizeof *pfns);
    while (virtio_device_process(driver.dev, INFLATE))
        ;
}

static void report(unsigned queue, uint64_t gpa, uint32_t len)
{
    driver_push_in(&driver, queue, gpa, len);
    while (virtio_device_process(driver.dev, queue))
        ;
}

static uint64_t returned(void)
{
    return virtio_balloon_counts(balloon).returned_bytes;
}

static void pages_in_the_balloon_are_given_back(void **state)
{
    (void)state;
    const uint32_t pfns[] = {20, 21, 22, 40, 39, 38, 60};
    uint16_t head;
    uint32_t len;
    inflate(pfns, 7);
    assert_true(driver_used(&driver, INFLATE, &head, &len));
    assert_int_equal(len, 0);
    for (unsigned i = 0; i < 7; i++)
        assert_false(is_there(pfns[i]));
    assert_true(is_there(19) && is_there(23) && is_there(37) && is_there(41) && is_there(61));
    assert_int_equal(returned(), 7 * PAGE);
}

static void a_page_twice_in_the_balloon_is_harmless(void **state)
{
    (void)state;
    const uint32_t pfns[] = {20, 20, 21, 20};
    inflate(pfns, 4);
    inflate(pfns, 4);
    assert_null(driver.broken);
    assert_true(is_there(22));
    assert_int_equal(*(uint8_t *)driver_at(&driver, 20 * PAGE, 1), 0);
}

static void a_page_that_is_taken_back_reads_as_zero(void **state)
{
    (void)state;
    const uint32_t pfn = 30;
    inflate(&pfn, 1);
    driver_push_out(&driver, DEFLATE, &pfn, sizeof pfn);
    assert_false(virtio_device_process(driver.dev, DEFLATE));
    assert_null(driver.broken);
    const uint8_t *page = driver_at(&driver, (uint64_t)pfn * PAGE, PAGE);
    for (unsigned i = 0; i < PAGE; i++)
        assert_int_equal(page[i], 0);
}

static void a_page_outside_memory_breaks_the_device(void **state)
{
    (void)state;
    const uint32_t outside[] = {MEMORY_PAGES, 0xffffffffu};
    for (unsigned i = 0; i < 2; i++) {
        driver.broken = NULL;
        inflate(&outside[i], 1);
        assert_string_equal(driver.broken, "a page for the balloon that is not the guest's memory");
        driver_clear_rings(&driver);
        driver_start(&driver, ALL_FEATURES);
    }
    assert_int_equal(returned(), 0);
}

static void half_a_page_number_breaks_the_device(void **state)
{
    (void)state;
    driver_push_out(&driver, INFLATE, "abcdef", 6);
    virtio_device_process(driver.dev, INFLATE);
    assert_string_equal(driver.broken, "a balloon request of half a page number");
}

static void writable_page_numbers_break_the_device(void **state)
{
    (void)state;
    driver_push_in(&driver, DEFLATE, DRIVER_HEAP_GPA, 4);
    virtio_device_process(driver.dev, DEFLATE);
    assert_string_equal(driver.broken, "a balloon request with writable buffers");
}

static void reported_ranges_are_given_back_by_whole_pages(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    report(REPORT, 20 * PAGE + 1, 4 * PAGE); // 21, 22 and 23 are whole
    assert_true(driver_used(&driver, REPORT, &head, &len));
    assert_int_equal(len, 0);
    assert_true(is_there(20) && is_there(24));
    assert_false(is_there(21) || is_there(22) || is_there(23));
    assert_int_equal(returned(), 3 * PAGE);
    report(REPORT, 50 * PAGE + 5, PAGE); // none is
    assert_true(is_there(50) && is_there(51));
}

static void drivers_that_number_queues_without_holes_report_too(void **state)
{
    (void)state;
    report(REPORT_PACKED, 20 * PAGE, 2 * PAGE);
    assert_false(is_there(20) || is_there(21));
}

// Page 20 over and over, and page 30 in the end: two rounds.
static void push_many(void)
{
    static uint32_t pfns[MANY];
    for (unsigned i = 0; i < MANY; i++)
        pfns[i] = i + 1 < MANY ? 20 : 30;
    driver_push_out(&driver, INFLATE, pfns, sizeof pfns);
}

static void a_request_of_several_rounds_is_served_whole(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    push_many();
    assert_true(virtio_device_process(driver.dev, INFLATE));
    assert_false(driver_used(&driver, INFLATE, &head, &len));
    assert_true(is_there(30));
    while (virtio_device_process(driver.dev, INFLATE))
        ;
    assert_true(driver_used(&driver, INFLATE, &head, &len));
    assert_false(is_there(30));
}

static void a_report_with_readable_buffers_breaks_the_device(void **state)
{
    (void)state;
    driver_push_out(&driver, REPORT, "x", 1);
    virtio_device_process(driver.dev, REPORT);
    assert_string_equal(driver.broken, "a page report with readable buffers");
}

static void a_report_that_was_not_negotiated_breaks_the_device(void **state)
{
    (void)state;
    driver_clear_rings(&driver);
    driver_start(&driver, VIRTIO_VERSION_1);
    report(REPORT, 20 * PAGE, PAGE);
    assert_string_equal(driver.broken, "a page report, which was not negotiated");
    assert_true(is_there(20));
}

static void poisoned_pages_are_not_taken(void **state)
{
    (void)state;
    driver_write(&driver, CONFIG + 12, 0xaaaaaaaa);
    report(REPORT, 20 * PAGE, PAGE);
    assert_null(driver.broken);
    assert_true(is_there(20));
    driver_write(&driver, CONFIG + 12, 0);
    report(REPORT, 20 * PAGE, PAGE);
    assert_false(is_there(20));
}

static void a_pattern_that_was_not_negotiated_is_no_promise(void **state)
{
    (void)state;
    driver_clear_rings(&driver);
    driver_start(&driver, ALL_FEATURES & ~(uint64_t)F_PAGE_POISON);
    driver_write(&driver, CONFIG + 12, 0xaaaaaaaa);
    report(REPORT, 20 * PAGE, PAGE);
    assert_false(is_there(20));
}

static void a_target_is_told_by_a_configuration_change(void **state)
{
    (void)state;
    unsigned raised = driver.raised;
    virtio_balloon_set_target(balloon, 1234);
    assert_int_equal(driver_read(&driver, CONFIG), 1234);
    assert_int_equal(driver.raised, raised + 1);
    driver_write(&driver, 0x070, 0);
    assert_int_equal(driver_read(&driver, CONFIG), 1234); // the host's wish outlives a driver
}

static void the_driver_writes_its_own_fields_only(void **state)
{
    (void)state;
    virtio_balloon_set_target(balloon, 7);
    driver_write(&driver, CONFIG, 99);
    driver_write(&driver, CONFIG + 4, 5);
    driver_write(&driver, CONFIG + 8, 99);
    assert_int_equal(driver_read(&driver, CONFIG), 7);
    assert_int_equal(driver_read(&driver, CONFIG + 8), 0);
    assert_int_equal(virtio_balloon_counts(balloon).inflated_bytes, 5 * PAGE);
}

static void a_reset_forgets_a_request_in_the_middle(void **state)
{
    (void)state;
    const uint32_t pfn = 40;
    push_many();
    assert_true(virtio_device_process(driver.dev, INFLATE));
    driver_clear_rings(&driver);
    driver_start(&driver, ALL_FEATURES);
    inflate(&pfn, 1);
    assert_false(is_there(40)); // from its beginning
}

#define BALLOON_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BALLOON_TEST(pages_in_the_balloon_are_given_back),
        BALLOON_TEST(a_page_twice_in_the_balloon_is_harmless),
        BALLOON_TEST(a_page_that_is_taken_back_reads_as_zero),
        BALLOON_TEST(a_page_outside_memory_breaks_the_device),
        BALLOON_TEST(half_a_page_number_breaks_the_device),
        BALLOON_TEST(writable_page_numbers_break_the_device),
        BALLOON_TEST(reported_ranges_are_given_back_by_whole_pages),
        BALLOON_TEST(drivers_that_number_queues_without_holes_report_too),
        BALLOON_TEST(a_request_of_several_rounds_is_served_whole),
        BALLOON_TEST(a_report_with_readable_buffers_breaks_the_device),
        BALLOON_TEST(a_report_that_was_not_negotiated_breaks_the_device),
        BALLOON_TEST(poisoned_pages_are_not_taken),
        BALLOON_TEST(a_pattern_that_was_not_negotiated_is_no_promise),
        BALLOON_TEST(a_target_is_told_by_a_configuration_change),
        BALLOON_TEST(the_driver_writes_its_own_fields_only),
        BALLOON_TEST(a_reset_forgets_a_request_in_the_middle),
    };
    return cmocka_run_group_tests_name("virtio/balloon", tests, NULL, NULL);
}
