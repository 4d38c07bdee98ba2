// Owns making taps. Called by spawn.c.
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>

#include "common/cleanup.h"
#include "net_link.h"

#define VNET_HEADER_BYTES 12 // struct virtio_net_hdr_v1

int net_tap_open(const char *name, int *ret_fd, struct err *err)
{
    _cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, -errno, "open /dev/net/tun");
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL};
    strncpy(request.ifr_name, name, sizeof request.ifr_name - 1);
    int header_bytes = VNET_HEADER_BYTES;
    if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header_bytes) < 0 ||
        ioctl(fd, TUNSETOFFLOAD, 0) < 0)
        return err_errno(err, -errno, "make tap %s", name);
    *ret_fd = take_fd(&fd);
    return 0;
}
