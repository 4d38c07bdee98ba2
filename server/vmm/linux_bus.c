// Owns the dispatch of a Linux guest's port and memory-mapped I/O. Called by linux_vcpu (exits) and
// machine_linux (output).
#include "linux_bus.h"

#include <string.h>
#include <unistd.h>

#include "acpi.h"
#include "boot/linux_layout.h"
#include "common/checked.h"
#include "virtio/mmio.h"

#define KEYBOARD_PORT  0x64u // of the PC's keyboard controller, which is not there but for this:
#define KEYBOARD_RESET 0xfeu
#define OUTPUT_SIGNAL  (LINUX_BUS_OUTPUT_MAX / 2) // worth a wake-up without a line's end

static void signal_fd(int fd)
{
    const uint64_t one = 1;
    // Cannot fail short of 2^64 unread signals.
    ssize_t ignored = write(fd, &one, sizeof one);
    (void)ignored;
}

// ---- serial port ----

static void on_serial_output(void *arg, uint8_t untrusted_byte)
{
    struct linux_bus *bus = arg;
    if (bus->n_output == sizeof bus->output) {
        bus->n_dropped++;
        return;
    }
    bus->output[bus->n_output++] = untrusted_byte;
    if (untrusted_byte == '\n' || bus->n_output == OUTPUT_SIGNAL)
        signal_fd(bus->options.wake_fd);
}

static void on_serial_line(void *arg, bool raised)
{
    const struct linux_bus *bus = arg;
    if (raised)
        signal_fd(bus->options.serial_irq_fd);
}

static void serial_access(struct linux_bus *bus, unsigned offset, bool is_out, uint8_t *byte)
{
    pthread_mutex_lock(&bus->lock);
    if (is_out)
        serial_write(&bus->serial, offset, *byte);
    else
        *byte = serial_read(&bus->serial, offset);
    pthread_mutex_unlock(&bus->lock);
}

size_t linux_bus_take_output(struct linux_bus *bus, uint8_t *out, size_t cap)
{
    pthread_mutex_lock(&bus->lock);
    const size_t n = bus->n_output < cap ? bus->n_output : cap;
    memcpy(out, bus->output, n);
    memmove(bus->output, bus->output + n, bus->n_output - n);
    bus->n_output -= n;
    pthread_mutex_unlock(&bus->lock);
    return n;
}

// ---- PCI: the configuration ports and a bare host bridge ----
//
// Kernels want to see that PCI can be asked, and take its absence for an error. There is nothing else on it.

#define PCI_ADDRESS      0xcf8u
#define PCI_DATA         0xcfcu      // four ports
#define PCI_BRIDGE       0x80000000u // enabled, bus 0, device 0, function 0
#define PCI_REGISTER     0xfcu
#define PCI_BRIDGE_WORDS 4u

static const uint32_t pci_bridge[PCI_BRIDGE_WORDS] = {0x00081b36, 0, 0x06000000, 0};

static bool is_pci(uint16_t port, size_t size)
{
    return (port == PCI_ADDRESS && size == 4) || (port >= PCI_DATA && port + size <= PCI_DATA + 4);
}

static void access_pci(struct linux_bus *bus, uint16_t port, bool is_out, uint8_t *data, size_t size)
{
    uint32_t value = 0xffffffffu;
    if (port == PCI_ADDRESS) {
        if (is_out)
            memcpy(&bus->pci_address, data, sizeof bus->pci_address);
        value = bus->pci_address;
    } else if ((bus->pci_address & ~PCI_REGISTER) == PCI_BRIDGE) {
        const uint32_t word = (bus->pci_address & PCI_REGISTER) / 4;
        value = word < PCI_BRIDGE_WORDS ? pci_bridge[word] : 0;
    }
    if (!is_out)
        memcpy(data, (const uint8_t *)&value + port % 4, size);
}

// ---- registers of one byte ----

static const struct {
    uint16_t port;
    uint8_t value; // written, it asks for:
    enum linux_request request;
    uint8_t reads_as;
} registers[] = {
    {LINUX_SLEEP_PORT, ACPI_SLEEP_S5, LINUX_POWEROFF, 0},
    {LINUX_STATUS_PORT, 0, LINUX_NOTHING, 0},
    {LINUX_RESET_PORT, LINUX_RESET_VALUE, LINUX_RESET, 0},
    {KEYBOARD_PORT, KEYBOARD_RESET, LINUX_RESET, 0xff},
};

static enum linux_request access_byte(struct linux_bus *bus, uint16_t port, bool is_out, uint8_t *byte)
{
    if (port >= LINUX_SERIAL_PORT && port < LINUX_SERIAL_PORT + SERIAL_PORTS) {
        serial_access(bus, port - LINUX_SERIAL_PORT, is_out, byte);
        return LINUX_NOTHING;
    }
    for (size_t i = 0; i < ARRAY_LEN(registers); i++) {
        if (registers[i].port != port)
            continue;
        if (!is_out)
            *byte = registers[i].reads_as;
        return is_out && *byte == registers[i].value ? registers[i].request : LINUX_NOTHING;
    }
    if (!is_out)
        *byte = 0xff;
    return LINUX_NOTHING;
}

enum linux_request linux_bus_port(struct linux_bus *bus, uint16_t port, bool is_out, uint8_t *data,
                                  size_t size, size_t count)
{
    if (is_pci(port, size)) {
        pthread_mutex_lock(&bus->lock);
        for (size_t i = 0; i < count; i++)
            access_pci(bus, port, is_out, data + i * size, size);
        pthread_mutex_unlock(&bus->lock);
        return LINUX_NOTHING;
    }
    // Wider than a byte: no register of ours.
    if (size != 1) {
        if (!is_out)
            memset(data, 0xff, size * count);
        return LINUX_NOTHING;
    }
    enum linux_request request = LINUX_NOTHING;
    for (size_t i = 0; i < count && request == LINUX_NOTHING; i++)
        request = access_byte(bus, port, is_out, data + i);
    return request;
}

void linux_bus_mmio(struct linux_bus *bus, uint64_t gpa, bool is_write, uint8_t *data, uint32_t len)
{
    const uint64_t window = gpa >= LINUX_MMIO_GPA ? (gpa - LINUX_MMIO_GPA) / LINUX_MMIO_STRIDE : UINT64_MAX;
    if (window >= bus->options.n_mmio) {
        if (!is_write)
            memset(data, 0xff, len);
        return;
    }
    // A driver's selectors are its device's: two vCPUs may be at it.
    pthread_mutex_lock(&bus->mmio_locks[window]);
    if (is_write)
        virtio_mmio_write(&bus->options.mmio[window], gpa % LINUX_MMIO_STRIDE, data, len);
    else
        virtio_mmio_read(&bus->options.mmio[window], gpa % LINUX_MMIO_STRIDE, data, len);
    pthread_mutex_unlock(&bus->mmio_locks[window]);
}

void linux_bus_init(struct linux_bus *bus, const struct linux_bus_options *options)
{
    static const struct serial_ops serial_ops = {.output = on_serial_output, .line = on_serial_line};
    bus->options = *options;
    bus->n_output = 0;
    bus->n_dropped = 0;
    bus->pci_address = 0;
    pthread_mutex_init(&bus->lock, NULL);
    for (size_t i = 0; i < options->n_mmio; i++)
        pthread_mutex_init(&bus->mmio_locks[i], NULL);
    serial_init(&bus->serial, &serial_ops, bus);
}
