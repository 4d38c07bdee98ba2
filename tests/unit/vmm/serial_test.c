// Tests of the serial port (server/vmm/serial.c): what Linux's 8250 driver asks of it when it looks for a
// port, and when it sends.
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "serial.h"

struct sample {
    struct serial port;
    char output[32];
    size_t n_output;
    bool line;
    unsigned n_raised;
};

static void on_output(void *arg, uint8_t byte)
{
    struct sample *s = arg;
    assert_true(s->n_output < sizeof s->output - 1);
    s->output[s->n_output++] = (char)byte;
}

static void on_line(void *arg, bool raised)
{
    struct sample *s = arg;
    assert_int_not_equal(s->line, raised); // told only of changes
    s->line = raised;
    s->n_raised += raised;
}

static int make(void **state)
{
    static const struct serial_ops ops = {.output = on_output, .line = on_line};
    struct sample *s = calloc(1, sizeof *s);
    assert_non_null(s);
    serial_init(&s->port, &ops, s);
    *state = s;
    return 0;
}

static int done(void **state)
{
    free(*state);
    return 0;
}

static void bytes_written_reach_the_sink(void **state)
{
    struct sample *s = *state;
    for (const char *p = "hello\n"; *p; p++) {
        assert_int_equal(serial_read(&s->port, 5), 0x60); // empty, before each
        serial_write(&s->port, 0, (uint8_t)*p);
    }
    assert_string_equal(s->output, "hello\n");
    assert_int_equal(s->n_raised, 0);
}

static void the_divisor_is_no_output(void **state)
{
    struct sample *s = *state;
    serial_write(&s->port, 3, 0x83);
    serial_write(&s->port, 0, 0x12);
    serial_write(&s->port, 1, 0x34);
    assert_int_equal(serial_read(&s->port, 0), 0x12);
    assert_int_equal(serial_read(&s->port, 1), 0x34);
    serial_write(&s->port, 3, 0x03);
    assert_int_equal(serial_read(&s->port, 1), 0);
    assert_int_equal(s->n_output, 0);
}

// autoconfig() in Linux's 8250_port.c.
static void linux_finds_a_16550a(void **state)
{
    struct sample *s = *state;
    serial_write(&s->port, 1, 0);
    assert_int_equal(serial_read(&s->port, 1) & 0x0f, 0);
    serial_write(&s->port, 1, 0xff);
    assert_int_equal(serial_read(&s->port, 1), 0x0f);
    serial_write(&s->port, 1, 0);
    serial_write(&s->port, 4, 0x10 | 0x08 | 0x02);
    assert_int_equal(serial_read(&s->port, 6) & 0xf0, 0x90);
    serial_write(&s->port, 4, 0);
    serial_write(&s->port, 2, 0x01); // FIFO on
    assert_int_equal(serial_read(&s->port, 2) >> 6, 3);
    serial_write(&s->port, 2, 0x21); // 64 bytes of it: not a 16750
    assert_int_equal(serial_read(&s->port, 2) & 0xe0, 0xc0);
    serial_write(&s->port, 7, 0xa5);
    assert_int_equal(serial_read(&s->port, 7), 0xa5);
}

static void the_fifo_can_be_switched_off(void **state)
{
    struct sample *s = *state;
    assert_int_equal(serial_read(&s->port, 2), 0x01);
    serial_write(&s->port, 2, 0x01);
    serial_write(&s->port, 2, 0x00);
    assert_int_equal(serial_read(&s->port, 2), 0x01);
}

static void enabling_the_interrupt_raises_it_until_it_is_read(void **state)
{
    struct sample *s = *state;
    serial_write(&s->port, 4, 0x08);
    serial_write(&s->port, 1, 0x02);
    assert_true(s->line);
    assert_int_equal(serial_read(&s->port, 2), 0x02);
    assert_false(s->line);
    assert_int_equal(serial_read(&s->port, 2), 0x01);
}

static void each_byte_raises_the_interrupt_anew(void **state)
{
    struct sample *s = *state;
    serial_write(&s->port, 4, 0x08);
    serial_write(&s->port, 1, 0x02);
    serial_write(&s->port, 0, 'a');
    serial_write(&s->port, 0, 'b');
    assert_true(s->line);
    assert_int_equal(s->n_raised, 3);
}

static void with_the_fifo_on_bytes_raise_it_once_until_it_is_read(void **state)
{
    struct sample *s = *state;
    serial_write(&s->port, 4, 0x08);
    serial_write(&s->port, 2, 0x01);
    serial_write(&s->port, 1, 0x02);
    assert_int_equal(serial_read(&s->port, 2), 0xc2);
    for (int i = 0; i < 16; i++)
        serial_write(&s->port, 0, 'a');
    assert_true(s->line);
    assert_int_equal(s->n_raised, 2);
    assert_int_equal(serial_read(&s->port, 2), 0xc2);
    assert_false(s->line);
    serial_write(&s->port, 0, 'b');
    assert_int_equal(s->n_raised, 3);
}

static void the_line_stays_down_without_out2(void **state)
{
    struct sample *s = *state;
    serial_write(&s->port, 1, 0x02);
    assert_false(s->line);
    assert_int_equal(serial_read(&s->port, 2), 0x02); // pending all the same
}

static void disabling_the_interrupt_lowers_the_line(void **state)
{
    struct sample *s = *state;
    serial_write(&s->port, 4, 0x08);
    serial_write(&s->port, 1, 0x02);
    serial_write(&s->port, 1, 0x00);
    assert_false(s->line);
}

static void loop_back_returns_the_byte_and_sends_nothing(void **state)
{
    struct sample *s = *state;
    serial_write(&s->port, 4, 0x10);
    serial_write(&s->port, 0, 'x');
    assert_int_equal(serial_read(&s->port, 5), 0x61);
    serial_write(&s->port, 1, 0x01);
    assert_int_equal(serial_read(&s->port, 2), 0x04);
    assert_int_equal(serial_read(&s->port, 0), 'x');
    assert_int_equal(serial_read(&s->port, 5), 0x60);
    assert_int_equal(s->n_output, 0);
}

static void carrier_is_there_for_a_login(void **state)
{
    struct sample *s = *state;
    assert_int_equal(serial_read(&s->port, 6), 0xb0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, done)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_written_reach_the_sink),
        TEST(the_divisor_is_no_output),
        TEST(linux_finds_a_16550a),
        TEST(the_fifo_can_be_switched_off),
        TEST(enabling_the_interrupt_raises_it_until_it_is_read),
        TEST(each_byte_raises_the_interrupt_anew),
        TEST(with_the_fifo_on_bytes_raise_it_once_until_it_is_read),
        TEST(the_line_stays_down_without_out2),
        TEST(disabling_the_interrupt_lowers_the_line),
        TEST(loop_back_returns_the_byte_and_sends_nothing),
        TEST(carrier_is_there_for_a_login),
    };
    return cmocka_run_group_tests_name("vmm/serial", tests, NULL, NULL);
}
