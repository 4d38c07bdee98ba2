// Tests of finding kernel modules and their order (agent/linux/modules.c).
#include "testing.h"

#include <string.h>

#include "modules.h"

static char paths[MODULES_DEPENDENCIES_MAX][256];

static const char dep[] = "kernel/net/vmw_vsock/vsock.ko:\n"
                          "kernel/drivers/virtio/virtio_mmio.ko: kernel/drivers/virtio/virtio_ring.ko "
                          "kernel/drivers/virtio/virtio.ko\n"
                          "kernel/drivers/char/hw_random/virtio-rng.ko.xz:\n"
                          "kernel/x/virtio.ko";

static void what_is_needed_is_loaded_first(void **state)
{
    (void)state;
    assert_int_equal(modules_find(dep, "virtio_mmio", paths), 3);
    assert_string_equal(paths[0], "kernel/drivers/virtio/virtio.ko");
    assert_string_equal(paths[1], "kernel/drivers/virtio/virtio_ring.ko");
    assert_string_equal(paths[2], "kernel/drivers/virtio/virtio_mmio.ko");
}

static void a_name_is_found_with_either_dash_and_compressed(void **state)
{
    (void)state;
    assert_int_equal(modules_find(dep, "virtio_rng", paths), 1);
    assert_string_equal(paths[0], "kernel/drivers/char/hw_random/virtio-rng.ko.xz");
    assert_int_equal(modules_find(dep, "vsock", paths), 1);
}

static void what_is_not_there_is_not_found(void **state)
{
    (void)state;
    assert_int_equal(modules_find(dep, "virtio_mm", paths), 0);
    assert_int_equal(modules_find(dep, "mmio", paths), 0);
    assert_int_equal(modules_find(dep, "virtio", paths), 0); // its line has no colon
    assert_int_equal(modules_find("", "virtio", paths), 0);
    assert_int_equal(modules_find("\n\n", "virtio", paths), 0);
}

static void a_list_may_number_its_files(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        bool matches;
    } cases[] = {
        {"/modules/03-virtio_rng.ko", true},
        {"03-virtio-rng.ko.zst", true},
        {"/virtio_rng.ko", true},
        {"03-virtio_rng.kox", false},
        {"03-virtio_rn.ko", false},
        {"03-", false},
        {"virtio_rng", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (modules_match(cases[i].path, strlen(cases[i].path), "virtio_rng") != cases[i].matches)
            fail_msg("%s", cases[i].path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_needed_is_loaded_first),
        cmocka_unit_test(a_name_is_found_with_either_dash_and_compressed),
        cmocka_unit_test(what_is_not_there_is_not_found),
        cmocka_unit_test(a_list_may_number_its_files),
    };
    return cmocka_run_group_tests_name("agent/modules", tests, NULL, NULL);
}
