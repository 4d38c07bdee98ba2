// Fuzzes the serial port (server/vmm/serial.c). Input: pairs of a byte (bits 0-2 offset, bit 7 write) and a
// value. Whatever a guest does, a byte sent is one write of data, and the line is down when nothing is
// enabled.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "serial.h"

struct sink {
    size_t n_output;
    bool line;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool promise)
{
    if (!promise)
        abort();
}

static void on_output(void *arg, uint8_t byte)
{
    (void)byte;
    ((struct sink *)arg)->n_output++;
}

static void on_line(void *arg, bool raised)
{
    struct sink *sink = arg;
    require(sink->line != raised);
    sink->line = raised;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct serial_ops ops = {.output = on_output, .line = on_line};
    struct sink sink = {0};
    struct serial port;
    serial_init(&port, &ops, &sink);
    for (size_t i = 0; i + 1 < size; i += 2) {
        const size_t before = sink.n_output;
        const unsigned offset = data[i] & 7u;
        if (data[i] & 0x80)
            serial_write(&port, offset, data[i + 1]);
        else
            serial_read(&port, offset);
        require(sink.n_output == before || ((data[i] & 0x80) && offset == 0 && sink.n_output == before + 1));
        require(!sink.line || (port.ier != 0 && (port.mcr & 0x08)));
        require((serial_read(&port, 5) & 0x60) == 0x60);
    }
    return 0;
}
