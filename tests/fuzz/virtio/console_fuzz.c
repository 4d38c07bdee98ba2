// Fuzzes console requests (program.h).
#include "virtio/console.h"

#include <stdlib.h>

#include "program.h"

static size_t sum;

static void sink(void *arg, const uint8_t *untrusted_data, size_t len)
{
    (void)arg;
    for (size_t i = 0; i < len; i++)
        sum += untrusted_data[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct driver driver;
    struct err err;
    struct virtio_console *console;
    driver_init(&driver);
    if (virtio_console_new(&console, &driver.machine, sink, NULL, &err) < 0)
        abort();
    driver_attach(&driver, virtio_console_device(console));
    program_run(&driver, data, size, NULL);
    virtio_console_drain(console);
    virtio_console_free(console);
    driver_done(&driver);
    return 0;
}
