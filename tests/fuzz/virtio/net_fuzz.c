// Fuzzes frames and headers in both directions (program.h), with and without offloads. HOST: what & 1: the
// tap gives these bytes, followed by what / 4 KiB of zeros; else it takes a frame, which must be one that
// net_check() lets pass.
#include "virtio/net.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net_check.h"
#include "program.h"

static int tap[2];

// TUNSETOFFLOAD: this tap can.
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    (void)fd, (void)request;
    return 0;
}

static void host(uint8_t what, const uint8_t *bytes, uint8_t n)
{
    static uint8_t frame[NET_HEADER_BYTES + NET_FRAME_GSO_MAX + 1];
    if (what & 1) {
        memset(frame, 0, sizeof frame);
        memcpy(frame, bytes, n);
        (void)!send(tap[1], frame, n + what / 4 * 1024u, MSG_DONTWAIT | MSG_NOSIGNAL);
        return;
    }
    ssize_t len = recv(tap[1], frame, sizeof frame, MSG_DONTWAIT);
    if (len < 0)
        return;
    if ((size_t)len < NET_HEADER_BYTES)
        abort();
    net_check(frame, frame + NET_HEADER_BYTES, (size_t)len - NET_HEADER_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct driver driver;
    struct err err;
    struct virtio_net *net;
    driver_init(&driver);
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, tap) < 0)
        abort();
    struct virtio_net_options options = {.tap_fd = tap[0],
                                         .mac = {2, 0, 0, 0, 0, 1},
                                         .offloads = true,
                                         .from_guest = {.packets_per_s = 1u << 20}};
    if (virtio_net_new(&net, &driver.machine, &options, &err) < 0)
        abort();
    driver_attach(&driver, virtio_net_device(net));
    program_run(&driver, data, size, host);
    virtio_net_free(net);
    driver_done(&driver);
    close(tap[0]);
    close(tap[1]);
    return 0;
}
