// System calls of sockets. There is one kind: an AF_UNIX stream whose only peer is the agent. IPv4 sockets
// come with the network stack's next step.
#include <asm/fcntl.h>
#include <asm/poll.h>
#include <asm/socket.h>
#include <linux/errno.h>
#include <linux/uio.h>
#include <linux/un.h>

#include "base/kernel.h"
#include "base/string.h"
#include "base/wait.h"
#include "fs/agent_socket.h"
#include "fs/file.h"
#include "proto/agent.h"
#include "sys/handlers.h"
#include "sys/user.h"

// linux/socket.h leaves these to the C library.
#define FAMILY_UNIX   1u
#define STREAM        1u
#define TYPE_MASK     0xfu
#define FLAG_DONTWAIT 0x40u
#define FLAG_PEEK     0x2u
#define FLAG_WAITALL  0x100u
#define VECTORS_MAX   1024u
#define BUFFER_BYTES  65536

struct message_header {
    uint64_t name;
    uint32_t name_len, zero;
    uint64_t vectors, n_vectors, control, control_len;
    uint32_t flags, zero2;
};

static int find_socket(uint64_t fd, struct file **ret)
{
    *ret = files_get(fd);
    if (!*ret)
        return -EBADF;
    return agent_socket_is(*ret) ? 0 : -ENOTSOCK;
}

int64_t sys_socket(const uint64_t a[6])
{
    if (a[0] != FAMILY_UNIX)
        return -EAFNOSUPPORT;
    if ((a[1] & TYPE_MASK) != STREAM || (a[2] && a[2] != FAMILY_UNIX))
        return -EPROTONOSUPPORT;
    struct file *file = agent_socket_new();
    if (!file)
        return -ENOMEM;
    file->flags |= (uint32_t)a[1] & O_NONBLOCK;
    return files_install(file, 0, a[1] & O_CLOEXEC);
}

int64_t sys_connect(const uint64_t a[6])
{
    struct sockaddr_un address;
    struct file *file;
    int rc = find_socket(a[0], &file);
    if (rc < 0)
        return rc;
    uint64_t path_at = offsetof(struct sockaddr_un, sun_path);
    if (a[2] < path_at || a[2] > sizeof address)
        return -EINVAL;
    memset(&address, 0, sizeof address);
    if (user_get(&address, a[1], a[2]) < 0)
        return -EFAULT;
    if (address.sun_family != FAMILY_UNIX)
        return -EAFNOSUPPORT;
    size_t len = strnlen(address.sun_path, a[2] - path_at);
    if (len != strlen(AGENT_SOCKET_PATH) || memcmp(address.sun_path, AGENT_SOCKET_PATH, len) != 0)
        return -ECONNREFUSED;
    return agent_socket_connect(file);
}

// Sends or receives one buffer; flags can make this call non-blocking.
static int64_t transfer(struct file *file, uint64_t address, uint64_t n, uint64_t flags, bool send)
{
    if (!user_ok(address, n))
        return -EFAULT;
    if (flags & FLAG_PEEK)
        return -EOPNOTSUPP;
    uint32_t saved = file->flags;
    if (flags & FLAG_DONTWAIT)
        file->flags |= O_NONBLOCK;
    int64_t done = 0, rc;
    do {
        uint8_t *p = (uint8_t *)address + done;
        rc = send ? file_write(file, p, n - (uint64_t)done, NULL)
                  : file_read(file, p, n - (uint64_t)done, NULL);
        done += rc > 0 ? rc : 0;
    } while (rc > 0 && (flags & FLAG_WAITALL) && !send && (uint64_t)done < n);
    file->flags = saved;
    return done ? done : rc;
}

int64_t sys_sendto(const uint64_t a[6])
{
    struct file *file;
    int rc = find_socket(a[0], &file);
    if (rc < 0)
        return rc;
    if (a[4])
        return agent_socket_is_connected(file) ? -EISCONN : -EOPNOTSUPP;
    return transfer(file, a[1], a[2], a[3], true);
}

int64_t sys_recvfrom(const uint64_t a[6])
{
    struct file *file;
    uint32_t zero = 0;
    int rc = find_socket(a[0], &file);
    if (rc < 0)
        return rc;
    if (a[4] && a[5] && user_put(a[5], &zero, sizeof zero) < 0)
        return -EFAULT;
    return transfer(file, a[1], a[2], a[3], false);
}

static int64_t transfer_message(const uint64_t a[6], bool send)
{
    struct message_header m;
    struct file *file;
    int rc = find_socket(a[0], &file);
    if (rc < 0)
        return rc;
    if (user_get(&m, a[1], sizeof m) < 0 || m.n_vectors > VECTORS_MAX ||
        !user_ok(m.vectors, m.n_vectors * sizeof(struct iovec)))
        return m.n_vectors > VECTORS_MAX ? -EMSGSIZE : -EFAULT;
    if (send && m.control_len)
        return -EOPNOTSUPP; // descriptors cannot be passed to the agent
    const struct iovec *v = (const struct iovec *)m.vectors;
    int64_t done = 0;
    for (uint64_t i = 0; i < m.n_vectors; i++) {
        if (!v[i].iov_len)
            continue;
        int64_t part = transfer(file, (uint64_t)v[i].iov_base, v[i].iov_len,
                                a[2] | (done && !send ? FLAG_DONTWAIT : 0), send);
        if (part < 0 && !done)
            return part;
        done += part > 0 ? part : 0;
        if (part < (int64_t)v[i].iov_len)
            break;
    }
    m.name_len = 0;
    m.control_len = 0;
    m.flags = 0;
    return send || user_put(a[1], &m, sizeof m) == 0 ? done : -EFAULT;
}

int64_t sys_sendmsg(const uint64_t a[6])
{
    return transfer_message(a, true);
}

int64_t sys_recvmsg(const uint64_t a[6])
{
    return transfer_message(a, false);
}

int64_t sys_shutdown(const uint64_t a[6])
{
    struct file *file;
    int rc = find_socket(a[0], &file);
    if (rc < 0)
        return rc;
    return a[1] > 2 ? -EINVAL : agent_socket_shutdown(file, a[1] != 1, a[1] != 0);
}

static int64_t put_value(uint64_t out, uint64_t len_out, const void *value, uint32_t n)
{
    uint32_t cap;
    if (user_get(&cap, len_out, sizeof cap) < 0)
        return -EFAULT;
    uint32_t put = cap < n ? cap : n;
    if (user_put(out, value, put) < 0)
        return -EFAULT;
    return user_put(len_out, &n, sizeof n);
}

int64_t sys_getsockopt(const uint64_t a[6])
{
    static const struct {
        uint32_t option, value;
    } options[] = {
        {SO_TYPE, STREAM}, {SO_DOMAIN, FAMILY_UNIX}, {SO_SNDBUF, BUFFER_BYTES}, {SO_RCVBUF, BUFFER_BYTES},
        {SO_ERROR, 0},     {SO_ACCEPTCONN, 0}};
    struct file *file;
    int rc = find_socket(a[0], &file);
    if (rc < 0)
        return rc;
    if (a[1] != SOL_SOCKET)
        return -EOPNOTSUPP;
    if (a[2] == SO_PEERCRED) {
        uint32_t ids[3] = {0, 0, 0}; // the agent is the kernel: process 0, root
        return put_value(a[3], a[4], ids, sizeof ids);
    }
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (a[2] == options[i].option)
            return put_value(a[3], a[4], &options[i].value, sizeof options[i].value);
    return -ENOPROTOOPT;
}

// Options of SOL_SOCKET are accepted: none of them changes what such a connection does.
int64_t sys_setsockopt(const uint64_t a[6])
{
    struct file *file;
    int rc = find_socket(a[0], &file);
    if (rc < 0)
        return rc;
    return a[1] == SOL_SOCKET ? 0 : -EOPNOTSUPP;
}

static int64_t put_name(const uint64_t a[6], const char *path)
{
    struct sockaddr_un address = {.sun_family = FAMILY_UNIX};
    uint32_t len = offsetof(struct sockaddr_un, sun_path);
    if (path) {
        memcpy(address.sun_path, path, strlen(path) + 1);
        len += (uint32_t)strlen(path) + 1;
    }
    return put_value(a[1], a[2], &address, len);
}

int64_t sys_getsockname(const uint64_t a[6])
{
    struct file *file;
    int rc = find_socket(a[0], &file);
    return rc < 0 ? rc : put_name(a, NULL);
}

int64_t sys_getpeername(const uint64_t a[6])
{
    struct file *file;
    int rc = find_socket(a[0], &file);
    if (rc < 0)
        return rc;
    return agent_socket_is_connected(file) ? put_name(a, AGENT_SOCKET_PATH) : -ENOTCONN;
}

// bind, listen, accept: nobody else lives here who could connect.
int64_t sys_no_listener(const uint64_t a[6])
{
    struct file *file;
    int rc = find_socket(a[0], &file);
    return rc < 0 ? rc : -EOPNOTSUPP;
}
