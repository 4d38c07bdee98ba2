// See transport.h. vsock(7).
#include "transport.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "proto/agent.h"

bool transport_parse(const char *text, struct transport *ret)
{
    static const char prefix[] = "unix:";
    if (strcmp(text, "vsock") == 0) {
        *ret = (struct transport){0};
        return true;
    }
    if (strncmp(text, prefix, sizeof prefix - 1) != 0)
        return false;
    const char *path = text + sizeof prefix - 1;
    struct transport t = {.is_unix = true};
    if (*path == '\0' || strlen(path) >= sizeof t.path)
        return false;
    strcpy(t.path, path);
    *ret = t;
    return true;
}

static int connect_to(int fd, const void *address, socklen_t len)
{
    if (fd < 0)
        return -errno;
    if (connect(fd, address, len) == 0 || errno == EINPROGRESS)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

int transport_connect(const struct transport *t)
{
    const int flags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    if (t->is_unix) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        memcpy(address.sun_path, t->path, sizeof address.sun_path);
        return connect_to(socket(AF_UNIX, flags, 0), &address, sizeof address);
    }
    struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_port = AGENT_VSOCK_PORT, .svm_cid = AGENT_VSOCK_HOST_CID};
    return connect_to(socket(AF_VSOCK, flags, 0), &address, sizeof address);
}

int transport_result(int fd)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -errno;
    return -error;
}
