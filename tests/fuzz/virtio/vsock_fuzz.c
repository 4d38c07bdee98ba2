// Fuzzes vsock packets and the connections that they make (program.h). HOST: what selects a connection (low 4
// bits) and what its other end does (high bits): write these bytes, close, shut its writing down, read.
#include "virtio/vsock.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "program.h"

#define GUEST_CID 3u
#define PORT      1024u
#define ENDS      16u

static int ends[ENDS]; // -1: none

static int on_accept(void *arg, uint32_t guest_port, uint32_t host_port, int fd)
{
    (void)arg;
    if (host_port != PORT)
        abort();
    unsigned slot = guest_port % ENDS;
    if (ends[slot] >= 0)
        close(ends[slot]);
    ends[slot] = fd;
    if (guest_port != 0xdeadu)
        return 0;
    ends[slot] = -1;
    close(fd);
    return -1;
}

static void host(uint8_t what, const uint8_t *bytes, uint8_t n)
{
    static uint8_t sink[1u << 16];
    int *end = &ends[what % ENDS];
    if (*end < 0)
        return;
    if (what >> 4 == 0) {
        close(*end);
        *end = -1;
    } else if (what >> 4 == 1) {
        shutdown(*end, SHUT_WR);
    } else if (what >> 4 < 8) {
        (void)!recv(*end, sink, sizeof sink, MSG_DONTWAIT);
    } else {
        (void)!send(*end, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct driver driver;
    struct err err;
    struct virtio_vsock *vsock;
    struct virtio_vsock_options options = {.guest_cid = GUEST_CID, .port = PORT, .accept = on_accept};
    driver_init(&driver);
    for (unsigned i = 0; i < ENDS; i++)
        ends[i] = -1;
    if (virtio_vsock_new(&vsock, &driver.machine, &options, &err) < 0)
        abort();
    driver_attach(&driver, virtio_vsock_device(vsock));
    program_run(&driver, data, size, host);
    virtio_vsock_free(vsock);
    driver_done(&driver);
    for (unsigned i = 0; i < ENDS; i++)
        if (ends[i] >= 0)
            close(ends[i]);
    return 0;
}
