// Fuzzes console requests and the live console (program.h). HOST: by the low 2 bits, the watcher types these
// bytes, is replaced, reads, or the window is resized.
#include "virtio/console.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "console_attach.h"
#include "program.h"

static size_t sum;
static struct virtio_console *console;
static struct console_attach *attach;
static int watcher;

static void sink(void *arg, const uint8_t *untrusted_data, size_t len)
{
    (void)arg;
    for (size_t i = 0; i < len; i++)
        sum += untrusted_data[i];
    console_attach_output(attach, untrusted_data, len);
}

static void open_watcher(void)
{
    struct err err;
    if (watcher >= 0)
        close(watcher);
    if (console_attach_open(attach, &watcher, &err) < 0)
        abort();
}

static void host(uint8_t what, const uint8_t *bytes, uint8_t n)
{
    static uint8_t seen[1u << 16];
    if ((what & 3) == 0 && n > 0)
        (void)!send(watcher, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    else if ((what & 3) == 1)
        open_watcher();
    else if ((what & 3) == 2)
        (void)!recv(watcher, seen, sizeof seen, MSG_DONTWAIT);
    else
        virtio_console_resize(console, what, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct driver driver;
    struct err err;
    driver_init(&driver);
    watcher = -1;
    if (virtio_console_new(&console, &driver.machine, sink, NULL, &err) < 0 ||
        console_attach_new(&attach, driver.loop, console, &err) < 0)
        abort();
    open_watcher();
    driver_attach(&driver, virtio_console_device(console));
    program_run(&driver, data, size, host);
    virtio_console_drain(console);
    console_attach_free(attach);
    virtio_console_free(console);
    driver_done(&driver);
    close(watcher);
    return 0;
}
