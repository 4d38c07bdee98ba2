// Tests of the datagrams between envd and envpriv (proto/privctl.c).
#include "testing.h"

#include <string.h>

#include "exact.h"
#include "samples.h"

static struct sample sample;
static uint8_t out[SAMPLE_CAP];

static const char *decode(const uint8_t *data, size_t len, struct privctl_message *m)
{
    struct wire_error error;
    return privctl_read(data, len, m, &error) ? NULL : error.what;
}

static void every_sample_survives_the_round_trip(void **state)
{
    (void)state;
    bool seen[PRIVCTL_TYPE_COUNT] = {false};
    for (size_t i = 0; sample_privctl(i, &sample); i++) {
        struct privctl_message m;
        assert_null(decode(sample.data, sample.len, &m));
        struct wire_writer w;
        wire_writer_init(&w, out, sizeof out);
        privctl_write(&w, &m);
        assert_int_equal(w.pos, sample.len);
        assert_memory_equal(out, sample.data, sample.len);
        seen[m.type] = true;
    }
    for (unsigned type = 1; type < PRIVCTL_TYPE_COUNT; type++)
        if (!seen[type])
            fail_msg("no sample of %s", privctl_type_name((enum privctl_type)type));
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; sample_privctl(i, &sample); i++) {
        for (size_t n = 0; n < sample.len; n++) {
            uint8_t *cut = exact_copy(sample.data, n);
            struct privctl_message m;
            const char *what = decode(cut, n, &m);
            free(cut);
            if (!what)
                fail_msg("%s cut to %zu was accepted", sample.name, n);
        }
    }
}

static void trailing_bytes_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; sample_privctl(i, &sample); i++) {
        struct privctl_message m;
        sample.data[sample.len] = 0;
        assert_string_equal(decode(sample.data, sample.len + 1, &m), "trailing bytes");
    }
}

static void the_spawn_request_has_the_drawn_layout(void **state)
{
    (void)state;
    static const uint8_t drawn[] = {
        PRIVCTL_SPAWN,
        0,
        0,
        0,
        4,
        0,
        0,
        0, // type, zero, tag
        1,
        2,
        3,
        4,
        5,
        6,
        0x77,
        8,
        0x89,
        10,
        11,
        12,
        13,
        14,
        15,
        16, // id
        4,
        0,
        'a',
        'c',
        'm',
        'e',
        3,
        0,
        'w',
        'e',
        'b', // tenant, name
        1,   // linux
        0,
        0,
        0,
        4,
        0,
        0,
        0,
        0, // memory: 64 MiB
        100,
        0,
        0,
        0,
        250,
        0,
        0,
        0,
        16,
        0,
        0,
        0,
        7,
        0, // weight, quota, pids, net
        2,
        0,
        0,
        0,
        0,
        1,
        2,
        0,
        0,
        10, // mac, 10.0.0.2
        6,
        0,
        0,
        0,
        'c',
        'o',
        'n',
        'f',
        'i',
        'g',
    };
    size_t i = 0;
    while (sample_privctl(i, &sample) && strcmp(sample.name, "SPAWN") != 0)
        i++;
    assert_int_equal(sample.len, sizeof drawn);
    assert_memory_equal(sample.data, drawn, sizeof drawn);
}

static void assert_refused(const struct privctl_message *message, const char *what)
{
    struct privctl_message m;
    struct wire_writer w;
    wire_writer_init(&w, out, sizeof out);
    privctl_write(&w, message);
    const char *got = decode(out, w.pos, &m);
    assert_non_null(got);
    assert_string_equal(got, what);
}

static struct privctl_message valid_spawn(void)
{
    return (struct privctl_message){.type = PRIVCTL_SPAWN,
                                    .spawn = {.vm = {{1}},
                                              .tenant = "acme",
                                              .name = "web",
                                              .memory_max_bytes = 1,
                                              .cpu_weight = 1,
                                              .pids_max = 1}};
}

static void a_hostile_spawn_is_refused_field_by_field(void **state)
{
    (void)state;
    struct privctl_message m = valid_spawn();
    m.spawn.vm.bytes[0] = 0;
    assert_refused(&m, "the VM's id is zero");
    m = valid_spawn();
    memcpy(m.spawn.tenant, "../x", 5);
    assert_refused(&m, "not a name (a-z, 0-9 and -, at most 63)");
    m = valid_spawn();
    m.spawn.name[0] = '\0';
    assert_refused(&m, "not a name (a-z, 0-9 and -, at most 63)");
    m = valid_spawn();
    m.spawn.memory_max_bytes = 0;
    assert_refused(&m, "the memory limit is zero");
    m = valid_spawn();
    m.spawn.cpu_weight = 10001;
    assert_refused(&m, "the CPU weight is not 1 to 10000");
    m = valid_spawn();
    m.spawn.kind = PRIVCTL_KIND_COUNT;
    assert_refused(&m, "the kind is unknown");
    m = valid_spawn();
    m.spawn.cpu_percent = PRIVCTL_CPU_PERCENT_MAX + 1;
    assert_refused(&m, "the CPU quota is over 1000 CPUs");
    m = valid_spawn();
    m.spawn.pids_max = 0;
    assert_refused(&m, "the process limit is zero");
    m = valid_spawn();
    m.spawn.net = PRIVCTL_NET_MAX;
    assert_refused(&m, "network index out of range");
    m = valid_spawn();
    m.spawn.mac[0] = 1;
    assert_refused(&m, "the MAC is a group address");
}

static void other_wrong_values_are_named(void **state)
{
    (void)state;
    const struct wire_view none = view_of("none");
    assert_refused(&(struct privctl_message){.type = PRIVCTL_NET_UP, .net = {0, 0, 24}},
                   "the gateway is 0.0.0.0");
    assert_refused(&(struct privctl_message){.type = PRIVCTL_NET_UP, .net = {0, 1, 31}},
                   "the prefix is not 8 to 30");
    assert_refused(&(struct privctl_message){.type = PRIVCTL_KILL}, "the VM's id is zero");
    assert_refused(&(struct privctl_message){.type = PRIVCTL_SPAWN_OK, .spawn_ok = {{{1}}, 0, 0}},
                   "no process id");
    assert_refused(&(struct privctl_message){.type = PRIVCTL_FAIL}, "no errno");
    assert_refused(&(struct privctl_message){.type = PRIVCTL_HELLO_OK,
                                             .hello_ok = {1, view_of("A"), none, view_of(""), none}},
                   "the instance is not of a-z and 0-9");
    assert_refused(
        &(struct privctl_message){.type = PRIVCTL_HELLO_OK,
                                  .hello_ok = {1, view_of("a"), view_of("xen"), view_of(""), none}},
        "kvm is none of pvm, hw, none");
}

static void an_unknown_type_and_a_giant_datagram_are_refused(void **state)
{
    (void)state;
    struct privctl_message m;
    static uint8_t giant[PRIVCTL_DATAGRAM_MAX + 1] = {PRIVCTL_LIST};
    assert_string_equal(decode((const uint8_t *)"\0\0\0\0\0\0\0\0", 8, &m), "unknown message type");
    assert_string_equal(decode((const uint8_t *)"\x0e\0\0\0\0\0\0\0", 8, &m), "unknown message type");
    assert_string_equal(decode((const uint8_t *)"\x09\0\x01\0\0\0\0\0", 8, &m),
                        "reserved bytes are not zero");
    assert_string_equal(decode(giant, sizeof giant, &m), "datagram too long");
}

static void only_three_messages_carry_descriptors(void **state)
{
    (void)state;
    size_t total = 0, min, max;
    for (unsigned type = 0; type <= PRIVCTL_TYPE_COUNT; type++) {
        privctl_fds_allowed((enum privctl_type)type, &min, &max);
        assert_true(min <= max && max <= PRIVCTL_FDS_MAX);
        total += max;
    }
    assert_int_equal(total, PRIVCTL_FDS_MAX + 1 + 1);
    privctl_fds_allowed(PRIVCTL_SPAWN, &min, &max);
    assert_int_equal(min, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sample_survives_the_round_trip),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(trailing_bytes_are_refused),
        cmocka_unit_test(the_spawn_request_has_the_drawn_layout),
        cmocka_unit_test(a_hostile_spawn_is_refused_field_by_field),
        cmocka_unit_test(other_wrong_values_are_named),
        cmocka_unit_test(an_unknown_type_and_a_giant_datagram_are_refused),
        cmocka_unit_test(only_three_messages_carry_descriptors),
    };
    return cmocka_run_group_tests_name("proto/privctl", tests, NULL, NULL);
}
