// Tests of the bzImage plan (server/vmm/boot/bzimage.c): a good kernel is planned exactly, each kind of bad
// one is refused with a sentence of its own.
#include "testing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "boot/bzimage.h"

#define MIB      (1ull << 20)
#define GIB      (1ull << 30)
#define FILE_LEN (11 * 512ull + 0x100000)

struct sample {
    uint8_t head[BZIMAGE_HEAD_MAX];
    struct bzimage_request request;
    struct bzimage_plan plan;
    struct err err;
};

static void put(struct sample *s, size_t at, uint64_t v, unsigned bytes)
{
    memcpy(s->head + at, &v, bytes);
}

// 10 sectors of set-up, 1 MiB of kernel at 16 MiB that wants 32 MiB to start.
static int make_good(void **state)
{
    struct sample *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->head[0x1f1] = 10;
    put(s, 0x1f4, 0x100000 / 16, 4);
    put(s, 0x1fe, 0xaa55, 2);
    put(s, 0x200, 0x6aeb, 2);
    memcpy(s->head + 0x202, "HdrS", 4);
    put(s, 0x206, 0x020f, 2);
    s->head[0x211] = 1;
    put(s, 0x22c, 0x7fffffff, 4);
    put(s, 0x230, 0x200000, 4);
    s->head[0x234] = 1;
    put(s, 0x236, 1, 2);
    put(s, 0x238, 2047, 4);
    put(s, 0x258, 16 * MIB, 8);
    put(s, 0x260, 32 * MIB, 4);
    s->request = (struct bzimage_request){
        .memory_bytes = 128 * MIB, .cmdline = "quiet", .cmdline_gpa = 0x20000, .rsdp_gpa = 0xe0000};
    *state = s;
    return 0;
}

static int free_sample(void **state)
{
    free(*state);
    return 0;
}

static int plan(struct sample *s)
{
    return bzimage_plan(s->head, sizeof s->head, FILE_LEN, &s->request, &s->plan, &s->err);
}

static void assert_refused(struct sample *s, int rc, const char *contains)
{
    s->plan.entry = 77;
    assert_int_equal(plan(s), rc);
    if (!strstr(s->err.text, contains))
        fail_msg("\"%s\" does not contain \"%s\"", s->err.text, contains);
    assert_int_equal(s->plan.entry, 77); // untouched
}

static uint64_t word(const uint8_t *params, size_t at, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, params + at, bytes);
    return v;
}

static void assert_region(const uint8_t *params, unsigned i, uint64_t gpa, uint64_t bytes, uint32_t type)
{
    const size_t at = 0x2d0 + i * 20u;
    assert_int_equal(word(params, at, 8), gpa);
    assert_int_equal(word(params, at + 8, 8), bytes);
    assert_int_equal(word(params, at + 16, 4), type);
}

static void a_kernel_lies_where_it_prefers_to(void **state)
{
    struct sample *s = *state;
    assert_int_equal(plan(s), 0);
    assert_int_equal(s->plan.file_offset, 11 * 512);
    assert_int_equal(s->plan.file_len, 0x100000);
    assert_int_equal(s->plan.load_gpa, 16 * MIB);
    assert_int_equal(s->plan.entry, 16 * MIB + 0x200);
    assert_int_equal(s->plan.end, 48 * MIB);
}

static void no_setup_sectors_means_four(void **state)
{
    struct sample *s = *state;
    s->head[0x1f1] = 0;
    assert_int_equal(plan(s), 0);
    assert_int_equal(s->plan.file_offset, 5 * 512);
}

static void the_initrd_lies_at_the_end_of_memory(void **state)
{
    struct sample *s = *state;
    s->request.initrd_bytes = 5000;
    assert_int_equal(plan(s), 0);
    assert_int_equal(s->plan.initrd_gpa, 128 * MIB - 8192);
    assert_int_equal(s->plan.initrd_bytes, 5000);
}

static void the_initrd_stays_below_what_the_kernel_allows(void **state)
{
    struct sample *s = *state;
    s->request.initrd_bytes = 4096;
    put(s, 0x22c, 64 * MIB - 1, 4);
    assert_int_equal(plan(s), 0);
    assert_int_equal(s->plan.initrd_gpa, 64 * MIB - 4096);
}

static void the_initrd_may_end_at_the_end_of_a_32_bit_limit(void **state)
{
    struct sample *s = *state;
    s->request.initrd_bytes = 4096;
    put(s, 0x22c, UINT32_MAX, 4);
    assert_int_equal(plan(s), 0);
    assert_int_equal(s->plan.initrd_gpa, 128 * MIB - 4096);
}

static void an_initrd_that_does_not_fit_is_refused(void **state)
{
    struct sample *s = *state;
    s->request.initrd_bytes = 80 * MIB + 1;
    assert_refused(s, -ENOMEM, "does not fit behind the kernel");
    s->request.initrd_bytes = UINT64_MAX;
    assert_refused(s, -ENOMEM, "does not fit behind the kernel");
}

static void boot_parameters_carry_header_and_pointers(void **state)
{
    struct sample *s = *state;
    uint8_t params[BZIMAGE_PARAMS_BYTES];
    s->request.initrd_bytes = 5000;
    put(s, 0x250, 0x4141414141414141, 8);
    s->head[0x290] = 0x5a; // not the header's
    assert_int_equal(plan(s), 0);
    bzimage_write_params(&s->plan, params);
    assert_memory_equal(params + 0x202, "HdrS", 4);
    assert_int_equal(params[0x210], 0xff);
    assert_int_equal(word(params, 0x218, 4), 128 * MIB - 8192);
    assert_int_equal(word(params, 0x21c, 4), 5000);
    assert_int_equal(word(params, 0x228, 4), 0x20000);
    assert_int_equal(word(params, 0x070, 8), 0xe0000);
    assert_int_equal(word(params, 0x250, 8), 0);
    assert_int_equal(params[0x290], 0);
    assert_int_equal(params[0x000], 0);
}

static void the_header_ends_where_it_says(void **state)
{
    struct sample *s = *state;
    uint8_t params[BZIMAGE_PARAMS_BYTES];
    s->head[0x26b] = 0x11;
    s->head[0x26c] = 0x22; // 0x202 + 0x6a
    assert_int_equal(plan(s), 0);
    bzimage_write_params(&s->plan, params);
    assert_int_equal(params[0x26b], 0x11);
    assert_int_equal(params[0x26c], 0);
}

static void small_memory_is_mapped_around_the_firmware(void **state)
{
    struct sample *s = *state;
    uint8_t params[BZIMAGE_PARAMS_BYTES];
    assert_int_equal(plan(s), 0);
    bzimage_write_params(&s->plan, params);
    assert_int_equal(params[0x1e8], 3);
    assert_region(params, 0, 0, 0x9fc00, 1);
    assert_region(params, 1, 0x9fc00, 0x60400, 2);
    assert_region(params, 2, MIB, 127 * MIB, 1);
}

static void large_memory_goes_on_above_4_gib(void **state)
{
    struct sample *s = *state;
    uint8_t params[BZIMAGE_PARAMS_BYTES];
    s->request.memory_bytes = 8 * GIB;
    assert_int_equal(plan(s), 0);
    bzimage_write_params(&s->plan, params);
    assert_int_equal(params[0x1e8], 4);
    assert_region(params, 2, MIB, 3 * GIB - MIB, 1);
    assert_region(params, 3, 4 * GIB, 5 * GIB, 1);
}

static void memory_of_3_gib_has_nothing_above_4(void **state)
{
    struct sample *s = *state;
    uint8_t params[BZIMAGE_PARAMS_BYTES];
    s->request.memory_bytes = 3 * GIB;
    assert_int_equal(plan(s), 0);
    bzimage_write_params(&s->plan, params);
    assert_int_equal(params[0x1e8], 3);
}

static void what_is_no_kernel_is_refused(void **state)
{
    struct sample *s = *state;
    s->head[0x202] = 'h';
    assert_refused(s, -ENOEXEC, "not a bzImage");
    assert_int_equal(bzimage_plan(s->head, 0, 0, &s->request, &s->plan, &s->err), -ENOEXEC);
}

static void a_header_that_is_cut_off_is_refused(void **state)
{
    struct sample *s = *state;
    assert_int_equal(bzimage_plan(s->head, 0x28f, 0x28f, &s->request, &s->plan, &s->err), -ENOEXEC);
    assert_non_null(strstr(s->err.text, "cut off inside its setup header"));
    assert_int_equal(bzimage_plan(s->head, 0x267, 0x267, &s->request, &s->plan, &s->err), -ENOEXEC);
}

static void a_kernel_that_is_cut_off_is_refused(void **state)
{
    struct sample *s = *state;
    assert_int_equal(bzimage_plan(s->head, sizeof s->head, FILE_LEN - 1, &s->request, &s->plan, &s->err),
                     -ENOEXEC);
    assert_non_null(strstr(s->err.text, "is cut off"));
    put(s, 0x1f4, UINT32_MAX, 4);
    assert_refused(s, -ENOEXEC, "is cut off");
    put(s, 0x1f4, 0x20, 4);
    assert_refused(s, -ENOEXEC, "nothing behind its setup header");
}

static void kernels_of_other_kinds_are_named(void **state)
{
    struct sample *s = *state;
    put(s, 0x236, 0, 2);
    assert_refused(s, -ENOEXEC, "no 64-bit entry");
    s->head[0x211] = 0;
    assert_refused(s, -ENOEXEC, "zImage");
    put(s, 0x206, 0x0209, 2);
    assert_refused(s, -ENOEXEC, "boot protocol 2.09");
}

static void a_header_too_short_for_its_version_is_refused(void **state)
{
    struct sample *s = *state;
    s->head[0x201] = 0x65;
    assert_refused(s, -ENOEXEC, "too short");
}

static void an_impossible_address_is_refused(void **state)
{
    struct sample *s = *state;
    static const uint64_t addresses[] = {0, 0x10000, 16 * MIB + 0x1000, 3 * GIB, UINT64_MAX - 0xfff};
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        put(s, 0x258, addresses[i], 8);
        assert_refused(s, -ENOEXEC, "where no kernel can");
    }
    put(s, 0x258, 16 * MIB, 8);
    put(s, 0x230, 0, 4);
    assert_refused(s, -ENOEXEC, "where no kernel can");
}

static void memory_too_small_for_the_kernel_is_refused(void **state)
{
    struct sample *s = *state;
    s->request.memory_bytes = 48 * MIB - 4096;
    assert_refused(s, -ENOMEM, "needs memory up to 48 MiB");
    s->request.memory_bytes = 0;
    assert_refused(s, -ENOMEM, "needs memory up to 48 MiB");
}

static void a_command_line_too_long_for_the_kernel_is_refused(void **state)
{
    struct sample *s = *state;
    put(s, 0x238, 5, 4);
    assert_int_equal(plan(s), 0);
    put(s, 0x238, 4, 4);
    assert_refused(s, -E2BIG, "has 5 bytes; this kernel takes 4");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_good, free_sample)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_kernel_lies_where_it_prefers_to),
        TEST(no_setup_sectors_means_four),
        TEST(the_initrd_lies_at_the_end_of_memory),
        TEST(the_initrd_stays_below_what_the_kernel_allows),
        TEST(the_initrd_may_end_at_the_end_of_a_32_bit_limit),
        TEST(an_initrd_that_does_not_fit_is_refused),
        TEST(boot_parameters_carry_header_and_pointers),
        TEST(the_header_ends_where_it_says),
        TEST(small_memory_is_mapped_around_the_firmware),
        TEST(large_memory_goes_on_above_4_gib),
        TEST(memory_of_3_gib_has_nothing_above_4),
        TEST(what_is_no_kernel_is_refused),
        TEST(a_header_that_is_cut_off_is_refused),
        TEST(a_kernel_that_is_cut_off_is_refused),
        TEST(kernels_of_other_kinds_are_named),
        TEST(a_header_too_short_for_its_version_is_refused),
        TEST(an_impossible_address_is_refused),
        TEST(memory_too_small_for_the_kernel_is_refused),
        TEST(a_command_line_too_long_for_the_kernel_is_refused),
    };
    return cmocka_run_group_tests_name("vmm/bzimage", tests, NULL, NULL);
}
