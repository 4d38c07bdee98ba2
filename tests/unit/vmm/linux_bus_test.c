// Tests of a Linux guest's ports and windows (server/vmm/linux_bus.c); devices have tests of their own.
#include "testing.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "acpi.h"
#include "boot/linux_layout.h"
#include "linux_bus.h"

static struct linux_bus bus;
static struct linux_bus_options options;

static int setup(void **state)
{
    (void)state;
    options = (struct linux_bus_options){.serial_irq_fd = eventfd(0, EFD_NONBLOCK),
                                         .wake_fd = eventfd(0, EFD_NONBLOCK)};
    linux_bus_init(&bus, &options);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    close(options.serial_irq_fd);
    close(options.wake_fd);
    return 0;
}

static enum linux_request out(uint16_t port, uint8_t value)
{
    return linux_bus_port(&bus, port, true, &value, 1, 1);
}

static uint8_t in(uint16_t port)
{
    uint8_t value = 0x55;
    assert_int_equal(linux_bus_port(&bus, port, false, &value, 1, 1), LINUX_NOTHING);
    return value;
}

static bool rung(int fd)
{
    uint64_t n;
    return read(fd, &n, sizeof n) == sizeof n;
}

static void the_sleep_register_powers_off(void **state)
{
    (void)state;
    assert_int_equal(out(LINUX_SLEEP_PORT, 0), LINUX_NOTHING);
    assert_int_equal(out(LINUX_SLEEP_PORT, ACPI_SLEEP_S5), LINUX_POWEROFF);
}

static void the_reset_registers_reset(void **state)
{
    (void)state;
    assert_int_equal(out(LINUX_RESET_PORT, 0), LINUX_NOTHING);
    assert_int_equal(out(LINUX_RESET_PORT, LINUX_RESET_VALUE), LINUX_RESET);
    assert_int_equal(out(0x64, 0xfe), LINUX_RESET);
}

static void what_nobody_has_reads_as_all_ones(void **state)
{
    (void)state;
    uint8_t data[8] = {0};
    assert_int_equal(in(0x70), 0xff);
    assert_int_equal(out(0x70, 0), LINUX_NOTHING);
    linux_bus_port(&bus, LINUX_RESET_PORT, false, data, 4, 2);
    for (size_t i = 0; i < sizeof data; i++)
        assert_int_equal(data[i], 0xff);
    memset(data, 0, sizeof data);
    linux_bus_mmio(&bus, LINUX_MMIO_GPA, false, data, 8);
    assert_int_equal(data[7], 0xff);
    linux_bus_mmio(&bus, UINT64_MAX, true, data, 8);
}

static uint32_t pci(uint32_t address)
{
    uint32_t value = 0;
    linux_bus_port(&bus, 0xcf8, true, (uint8_t *)&address, 4, 1);
    linux_bus_port(&bus, 0xcfc, false, (uint8_t *)&value, 4, 1);
    return value;
}

static void pci_has_a_host_bridge_and_nothing_else(void **state)
{
    (void)state;
    assert_int_equal(pci(0x80000000), 0x00081b36);
    uint16_t class = 0;
    pci(0x80000008);
    linux_bus_port(&bus, 0xcfe, false, (uint8_t *)&class, 2, 1);
    assert_int_equal(class, 0x0600);
    assert_int_equal(pci(0x800000fc), 0);
    assert_int_equal(pci(0x80000800), 0xffffffff);
    assert_int_equal(pci(0), 0xffffffff);
    uint32_t address = 0;
    pci(0x80000004);
    linux_bus_port(&bus, 0xcf8, false, (uint8_t *)&address, 4, 1);
    assert_int_equal(address, 0x80000004);
}

static void serial_output_waits_for_the_loop(void **state)
{
    (void)state;
    uint8_t text[] = "hi\n", got[8];
    assert_int_equal(linux_bus_port(&bus, LINUX_SERIAL_PORT, true, text, 1, 2), LINUX_NOTHING);
    assert_false(rung(options.wake_fd));
    out(LINUX_SERIAL_PORT, '\n');
    assert_true(rung(options.wake_fd));
    assert_int_equal(linux_bus_take_output(&bus, got, 2), 2);
    assert_memory_equal(got, "hi", 2);
    assert_int_equal(linux_bus_take_output(&bus, got, sizeof got), 1);
    assert_int_equal(linux_bus_take_output(&bus, got, sizeof got), 0);
}

static void output_that_nobody_takes_is_bounded_and_counted(void **state)
{
    (void)state;
    for (size_t i = 0; i < LINUX_BUS_OUTPUT_MAX + 3; i++)
        out(LINUX_SERIAL_PORT, 'x');
    assert_int_equal(bus.n_output, LINUX_BUS_OUTPUT_MAX);
    assert_int_equal(bus.n_dropped, 3);
}

static void the_serial_port_interrupts(void **state)
{
    (void)state;
    out(LINUX_SERIAL_PORT + 4, 0x08); // OUT2
    out(LINUX_SERIAL_PORT + 1, 0x02); // transmitter empty
    assert_true(rung(options.serial_irq_fd));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_sleep_register_powers_off, setup, teardown),
        cmocka_unit_test_setup_teardown(the_reset_registers_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(what_nobody_has_reads_as_all_ones, setup, teardown),
        cmocka_unit_test_setup_teardown(pci_has_a_host_bridge_and_nothing_else, setup, teardown),
        cmocka_unit_test_setup_teardown(serial_output_waits_for_the_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(output_that_nobody_takes_is_bounded_and_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(the_serial_port_interrupts, setup, teardown),
    };
    return cmocka_run_group_tests_name("vmm/linux_bus", tests, NULL, NULL);
}
