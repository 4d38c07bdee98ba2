// See agent_socket.h. What the program writes goes straight into the agent, which takes what it can act upon;
// what the agent writes waits in a buffer until the program reads.
#include "fs/agent_socket.h"

#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <asm/poll.h>
#include <linux/errno.h>

#include "agent.h"
#include "base/string.h"
#include "fs/abi.h"
#include "fs/file.h"
#include "mem/heap.h"
#include "sys/user.h"

#define BUFFER_BYTES 65536u

enum state { FRESH, CONNECTED, HUNG_UP }; // HUNG_UP: the agent closed it

struct agent_socket {
    struct file *file;
    uint8_t state;
    bool read_closed, write_closed; // shutdown()
    bool starved;                   // the agent was told that there is no room
    int client;
    uint32_t first, used;
    uint8_t *bytes; // BUFFER_BYTES, from the first delivery on
};

size_t agent_socket_deliver(void *socket, const void *data, size_t n)
{
    struct agent_socket *s = socket;
    if (!s->bytes && !(s->bytes = heap_alloc(BUFFER_BYTES)))
        return 0;
    size_t room = BUFFER_BYTES - s->used;
    size_t put = n < room ? n : room, last = (s->first + s->used) % BUFFER_BYTES;
    size_t head = BUFFER_BYTES - last < put ? BUFFER_BYTES - last : put;
    memcpy(s->bytes + last, data, head);
    memcpy(s->bytes, (const uint8_t *)data + head, put - head);
    s->used += (uint32_t)put;
    s->starved |= put < n;
    s->file->n_changes++;
    return put;
}

void agent_socket_on_closed(void *socket)
{
    struct agent_socket *s = socket;
    s->state = HUNG_UP;
    s->file->n_changes++;
}

static int64_t read_socket(struct file *file, void *out, size_t n, uint64_t *pos)
{
    struct agent_socket *s = file->data;
    (void)pos;
    if (s->state == FRESH)
        return -ENOTCONN;
    if (!n)
        return 0;
    if (!s->used)
        return s->state == HUNG_UP || s->read_closed ? 0 : -EAGAIN;
    size_t take = n < s->used ? n : s->used;
    size_t head = BUFFER_BYTES - s->first < take ? BUFFER_BYTES - s->first : take;
    memcpy(out, s->bytes + s->first, head);
    memcpy((uint8_t *)out + head, s->bytes, take - head);
    s->first = (uint32_t)(s->first + take) % BUFFER_BYTES;
    s->used -= (uint32_t)take;
    if (!s->used)
        s->first = 0;
    if (s->starved && s->state == CONNECTED) {
        s->starved = false;
        agent_client_has_room(s->client);
    }
    return (int64_t)take;
}

static int64_t write_socket(struct file *file, const void *data, size_t n, uint64_t *pos)
{
    struct agent_socket *s = file->data;
    (void)pos;
    if (s->state == FRESH)
        return -ENOTCONN;
    if (s->state == HUNG_UP || s->write_closed)
        return -EPIPE;
    if (!n)
        return 0;
    size_t taken = agent_client_takes_input(s->client) ? agent_write_from_client(s->client, data, n) : 0;
    file->n_changes++;
    return taken ? (int64_t)taken : -EAGAIN;
}

static uint32_t poll_socket(struct file *file)
{
    struct agent_socket *s = file->data;
    if (s->state == FRESH)
        return POLLOUT | POLLHUP;
    uint32_t events = s->used || s->read_closed ? POLLIN | POLLRDNORM : 0;
    if (s->state == HUNG_UP)
        return events | POLLIN | POLLRDNORM | POLLHUP | POLLRDHUP | POLLOUT;
    return events | (agent_client_takes_input(s->client) ? POLLOUT | POLLWRNORM : 0u);
}

static int64_t ioctl_socket(struct file *file, uint64_t request, uint64_t argument)
{
    struct agent_socket *s = file->data;
    int used = (int)s->used;
    return request == FIONREAD ? user_put(argument, &used, sizeof used) : -ENOTTY;
}

static void release_socket(struct file *file)
{
    struct agent_socket *s = file->data;
    if (s->state == CONNECTED)
        agent_disconnect_client(s->client);
    heap_free(s->bytes);
    heap_free(s);
}

static const struct file_ops socket_ops = {.read = read_socket,
                                           .write = write_socket,
                                           .poll = poll_socket,
                                           .ioctl = ioctl_socket,
                                           .release = release_socket,
                                           .mode = MODE_SOCKET | 0777,
                                           .stream = true};

struct file *agent_socket_new(void)
{
    struct agent_socket *s = heap_alloc_zeroed(sizeof *s);
    struct file *file = s ? file_new(&socket_ops, O_RDWR, NULL, s) : NULL;
    if (!file) {
        heap_free(s);
        return NULL;
    }
    s->file = file;
    return file;
}

bool agent_socket_is(const struct file *file)
{
    return file->ops == &socket_ops;
}

bool agent_socket_is_connected(const struct file *file)
{
    return ((struct agent_socket *)file->data)->state != FRESH;
}

int agent_socket_connect(struct file *file)
{
    struct agent_socket *s = file->data;
    if (s->state != FRESH)
        return -EISCONN;
    s->state = CONNECTED;
    int client = agent_connect_client(s);
    if (client < 0) {
        s->state = FRESH;
        return client;
    }
    s->client = client;
    return 0;
}

int agent_socket_shutdown(struct file *file, bool read, bool write)
{
    struct agent_socket *s = file->data;
    if (s->state == FRESH)
        return -ENOTCONN;
    s->read_closed |= read;
    // The protocol has no half-closed connections: a program that will not write any more is one that is
    // done.
    if (write && !s->write_closed && s->state == CONNECTED) {
        s->write_closed = true;
        s->state = HUNG_UP;
        agent_disconnect_client(s->client);
    }
    file->n_changes++;
    return 0;
}
