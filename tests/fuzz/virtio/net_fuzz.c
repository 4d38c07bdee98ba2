// Fuzzes frames and headers in both directions (program.h). HOST: what & 1: the tap gives a frame of these
// bytes; else it takes one, which must have no offloads and an Ethernet frame's length.
#include "virtio/net.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "program.h"
#include "virtio/net_frame.h"

static int tap[2];

static void host(uint8_t what, const uint8_t *bytes, uint8_t n)
{
    static const uint8_t no_offload[NET_HEADER_BYTES];
    uint8_t frame[4096];
    if (what & 1) {
        (void)!send(tap[1], bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        return;
    }
    ssize_t len = recv(tap[1], frame, sizeof frame, MSG_DONTWAIT);
    if (len < 0)
        return;
    if ((size_t)len < NET_HEADER_BYTES + NET_FRAME_MIN || (size_t)len > NET_HEADER_BYTES + NET_MTU + NET_FRAME_OVERHEAD ||
        memcmp(frame, no_offload, sizeof no_offload) != 0)
        abort();
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
    struct virtio_net_options options = {
        .tap_fd = tap[0], .mac = {2, 0, 0, 0, 0, 1}, .from_guest = {.packets_per_s = 1u << 20}};
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
