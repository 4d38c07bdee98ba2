// Tests of envvm's control messages and configuration (proto/vmctl.c).
#include "testing.h"

#include <string.h>

#include "exact.h"
#include "samples.h"

static struct sample sample;
static struct vmctl_config config;
static uint8_t out[VMCTL_CONFIG_MAX + 1];
static size_t written; // to out

static const char *decode(const uint8_t *data, size_t len, struct vmctl_message *m)
{
    struct wire_error error;
    return vmctl_read(data, len, m, &error) ? NULL : error.what;
}

static const char *decode_config(const uint8_t *data, size_t len)
{
    struct wire_error error;
    return vmctl_config_read(data, len, &config, &error) ? NULL : error.what;
}

static void load_config(size_t i)
{
    sample_vmctl_config(i, &sample);
    assert_null(decode_config(sample.data, sample.len));
}

static const char *encode_and_decode_config(void)
{
    struct wire_writer w;
    wire_writer_init(&w, out, sizeof out);
    vmctl_config_write(&w, &config);
    assert_false(w.overflow);
    written = w.pos;
    return decode_config(out, w.pos);
}

static void every_message_survives_the_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; sample_vmctl(i, &sample); i++) {
        struct vmctl_message m;
        assert_null(decode(sample.data, sample.len, &m));
        assert_int_equal(vmctl_type_of(sample.data, sample.len), m.type);
        struct wire_writer w;
        wire_writer_init(&w, out, sizeof out);
        vmctl_write(&w, &m);
        assert_int_equal(w.pos, sample.len);
        assert_memory_equal(out, sample.data, sample.len);
    }
}

static void every_config_survives_the_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; sample_vmctl_config(i, &sample); i++) {
        assert_null(decode_config(sample.data, sample.len));
        struct wire_writer w;
        wire_writer_init(&w, out, sizeof out);
        vmctl_config_write(&w, &config);
        assert_int_equal(w.pos, sample.len);
        assert_memory_equal(out, sample.data, sample.len);
    }
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; sample_vmctl(i, &sample) || sample_vmctl_config(i, &sample); i++) {
        bool is_message = sample_vmctl(i, &sample);
        for (size_t n = 0; is_message && n < sample.len; n++) {
            uint8_t *cut = exact_copy(sample.data, n);
            struct vmctl_message m;
            if (!decode(cut, n, &m))
                fail_msg("%s cut to %zu was accepted", sample.name, n);
            free(cut);
        }
        bool is_config = sample_vmctl_config(i, &sample);
        for (size_t n = 0; is_config && n < sample.len; n++) {
            uint8_t *cut = exact_copy(sample.data, n);
            if (!decode_config(cut, n))
                fail_msg("config %s cut to %zu was accepted", sample.name, n);
            free(cut);
        }
    }
}

static void trailing_bytes_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; sample_vmctl(i, &sample); i++) {
        struct vmctl_message m;
        sample.data[sample.len] = 0;
        assert_string_equal(decode(sample.data, sample.len + 1, &m), "trailing bytes");
    }
    sample_vmctl_config(0, &sample);
    sample.data[sample.len] = 0;
    assert_string_equal(decode_config(sample.data, sample.len + 1), "trailing bytes");
}

static void the_config_has_the_drawn_layout(void **state)
{
    (void)state;
    // clang-format off
    static const uint8_t drawn[] = {
        VMCTL_VERSION, 0,
        4, 0, 'a', 'c', 'm', 'e', 3, 0, 'w', 'e', 'b', // tenant, name
        0, 1,                                          // kind, vCPUs
        8, 0, 0, 0, 0, 0, 0, 0, 0, 0,                  // memory, mac
        0, 0, 0, 0, 0, 0, 0, 0, 0,                     // ipv4, gateway, prefix
        0, 0, 0, 0, 0, 0, 0, 0,                        // log limits
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // net limits
        1, 0, 5, 0, '/', 'i', 'n', 'i', 't', 0, 0,     // args, env
    };
    // clang-format on
    sample_vmctl_config(0, &sample);
    assert_int_equal(sample.len, sizeof drawn);
    assert_memory_equal(sample.data, drawn, sizeof drawn);
}

static void what_is_of_linux_follows_in_the_drawn_layout(void **state)
{
    (void)state;
    // clang-format off
    static const uint8_t drawn[] = {
        5, 0, 'q', 'u', 'i', 'e', 't', // cmdline
        1, 1,                          // has_initrd, n_disks
        2, 1, 0, 'r',                  // flags, id
        5, 0, 0, 0, 0, 0, 0, 0,        // bytes
        3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, // limits
    };
    // clang-format on
    load_config(3);
    config.cmdline = view_of("quiet");
    config.has_initrd = true;
    config.n_disks = 1;
    config.disks[0] = (struct vmctl_disk){
        .flags = VMCTL_DISK_OVERLAY, .id = view_of("r"), .bytes = 5, .requests_per_s = 3, .bytes_per_s = 4};
    assert_null(encode_and_decode_config());
    assert_memory_equal(out + written - sizeof drawn, drawn, sizeof drawn);
}

static void unknown_types_are_zero(void **state)
{
    (void)state;
    assert_int_equal(vmctl_type_of("\x02\0\0\0", 4), VMCTL_QUERY);
    assert_int_equal(vmctl_type_of("\x02\0\0", 3), 0);
    assert_int_equal(vmctl_type_of("\x00\0\0\0", 4), 0);
    assert_int_equal(vmctl_type_of("\x0e\0\0\0", 4), 0);
    assert_int_equal(vmctl_type_of("\x02\0\x01\0", 4), 0);
}

static void a_config_where_a_message_should_be_is_refused(void **state)
{
    (void)state;
    struct vmctl_message m;
    assert_string_equal(decode((const uint8_t *)"\x01\0\0\0", 4, &m), "CONFIG is out of place");
}

static void states_and_causes_are_checked_and_have_names(void **state)
{
    (void)state;
    struct vmctl_message m;
    assert_string_equal(decode((const uint8_t *)"\x04\0\0\0\x06\0\0\0\0\0\0\0", 12, &m), "unknown state");
    assert_string_equal(decode((const uint8_t *)"\x04\0\0\0\x04\xff\0\0\0\0\0\0", 12, &m), "unknown cause");
    for (unsigned i = 0; i < VMCTL_CAUSE_COUNT; i++)
        assert_string_not_equal(vmctl_cause_name((enum vmctl_cause)i), "unknown");
    assert_string_equal(vmctl_cause_name(VMCTL_CAUSE_COUNT), "unknown");
    assert_string_equal(vmctl_state_name(VMCTL_FAILED), "failed");
    assert_string_equal(vmctl_state_name((enum vmctl_state)0), "unknown");
}

static void each_wrong_config_value_is_named(void **state)
{
    (void)state;
    load_config(1);
    config.memory_mib = VMCTL_MEMORY_MIN_MIB - 1;
    assert_string_equal(encode_and_decode_config(), "memory is not 8 to 3072 MiB");
    load_config(1);
    config.prefix = 33;
    assert_string_equal(encode_and_decode_config(), "the prefix is above 32");
    load_config(1);
    config.n_args = 0;
    assert_string_equal(encode_and_decode_config(), "too few or too many arguments or variables");
    load_config(1);
    config.env[1] = view_of("=x");
    assert_string_equal(encode_and_decode_config(), "an environment variable is not KEY=value");
    load_config(1);
    config.env[0] = view_of("x");
    assert_string_equal(encode_and_decode_config(), "an environment variable is not KEY=value");
    load_config(1);
    config.mac[0] = 0xff;
    assert_string_equal(encode_and_decode_config(), "the MAC is a group address");
}

static void each_wrong_value_of_a_linux_config_is_named(void **state)
{
    (void)state;
    load_config(2);
    config.kind = VMCTL_KIND_COUNT;
    assert_string_equal(encode_and_decode_config(), "unknown kind of virtual machine");
    load_config(2);
    config.n_vcpus = VMCTL_VCPUS_MAX + 1;
    assert_string_equal(encode_and_decode_config(), "not 1 to 16 vCPUs");
    load_config(2);
    config.memory_mib = VMCTL_LINUX_MEMORY_MAX_MIB + 1;
    assert_string_equal(encode_and_decode_config(), "memory is not 32 to 1048576 MiB");
    load_config(2);
    config.cmdline = view_of("a\nb");
    assert_string_equal(encode_and_decode_config(), "the kernel command line has a control character");
    load_config(2);
    config.n_disks = 1;
    config.disks[0].flags = VMCTL_DISK_READ_ONLY | VMCTL_DISK_OVERLAY;
    assert_string_equal(encode_and_decode_config(), "a disk is neither raw, read-only nor an overlay");
    load_config(2);
    config.disks[0].id = view_of("012345678901234567890");
    assert_non_null(encode_and_decode_config());
    load_config(2);
    config.n_disks = VMCTL_DISKS_MAX + 1;
    assert_string_equal(encode_and_decode_config(), "too many disks");
}

static void a_cell_has_one_vcpu_and_no_disk(void **state)
{
    (void)state;
    load_config(2);
    load_config(1);
    assert_int_equal(config.n_disks, 0);
    assert_false(config.has_initrd);
    assert_int_equal(config.cmdline.len, 0);
    config.n_vcpus = 2;
    assert_string_equal(encode_and_decode_config(), "a cell has one vCPU");
}

static void arguments_and_environment_share_one_limit(void **state)
{
    (void)state;
    static char longest[65535];
    memset(longest, 'a', sizeof longest);
    longest[1] = '=';
    load_config(0);
    config.args[0] = (struct wire_view){(const uint8_t *)longest, sizeof longest};
    config.n_env = 1;
    config.env[0] = (struct wire_view){(const uint8_t *)longest, sizeof longest};
    assert_null(encode_and_decode_config()); // exactly 128 KiB with the NULs
    config.n_env = 2;
    config.env[1] = view_of("A=");
    assert_string_equal(encode_and_decode_config(), "arguments and environment together are too long");
}

static void more_strings_than_the_table_holds_are_refused(void **state)
{
    (void)state;
    load_config(0);
    uint8_t *count = sample.data + sample.len - 2; // of the environment
    count[0] = 1;
    count[1] = 1;
    assert_string_equal(decode_config(sample.data, sample.len), "too few or too many arguments or variables");
    config.n_args = VMCTL_ARGS_MAX + 1;
    struct wire_writer w;
    wire_writer_init(&w, out, sizeof out);
    vmctl_config_write(&w, &config);
    assert_true(w.overflow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_survives_the_round_trip),
        cmocka_unit_test(every_config_survives_the_round_trip),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(trailing_bytes_are_refused),
        cmocka_unit_test(the_config_has_the_drawn_layout),
        cmocka_unit_test(what_is_of_linux_follows_in_the_drawn_layout),
        cmocka_unit_test(unknown_types_are_zero),
        cmocka_unit_test(a_config_where_a_message_should_be_is_refused),
        cmocka_unit_test(states_and_causes_are_checked_and_have_names),
        cmocka_unit_test(each_wrong_config_value_is_named),
        cmocka_unit_test(each_wrong_value_of_a_linux_config_is_named),
        cmocka_unit_test(a_cell_has_one_vcpu_and_no_disk),
        cmocka_unit_test(arguments_and_environment_share_one_limit),
        cmocka_unit_test(more_strings_than_the_table_holds_are_refused),
    };
    return cmocka_run_group_tests_name("proto/vmctl", tests, NULL, NULL);
}
