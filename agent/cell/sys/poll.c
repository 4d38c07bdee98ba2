// System calls that wait for descriptors: poll, select, epoll. All of them look, wait for an event, and look
// again.
#include <asm/fcntl.h>
#include <asm/poll.h>
#include <linux/errno.h>
#include <linux/eventpoll.h>
#include <linux/time.h>

#include "base/clock.h"
#include "base/kernel.h"
#include "base/string.h"
#include "base/wait.h"
#include "fs/epoll.h"
#include "fs/file.h"
#include "sys/handlers.h"
#include "sys/time.h"
#include "sys/user.h"

#define ALWAYS     (POLLERR | POLLHUP | POLLNVAL)
#define SET_WORDS  (FILES_MAX / 64)
#define SET_READ   (POLLIN | POLLRDNORM | POLLHUP | POLLERR)
#define SET_WRITE  (POLLOUT | POLLWRNORM | POLLERR)
#define SET_EXCEPT POLLPRI
#define EVENTS_MAX 16 // per look: a program that has more ready asks again

// Milliseconds as poll and epoll_wait take them: negative is for ever.
static uint64_t deadline_of_ms(uint64_t timeout)
{
    int ms = (int)timeout;
    return ms < 0 ? NEVER : time_deadline((uint64_t)ms * 1000000u);
}

// True when it is worth another look: something may have changed and time is left.
static bool wait_more(uint64_t deadline_ns)
{
    if (deadline_ns != NEVER && clock_monotonic_ns() >= deadline_ns)
        return false;
    wait_event(deadline_ns);
    return true;
}

static int64_t look_at(struct pollfd *fds, uint64_t n)
{
    int64_t ready = 0;
    for (uint64_t i = 0; i < n; i++) {
        fds[i].revents = 0;
        if (fds[i].fd < 0)
            continue;
        struct file *file = files_get((uint64_t)fds[i].fd);
        uint32_t events = file ? file_poll(file) : POLLNVAL;
        fds[i].revents = (short)(events & ((uint32_t)(uint16_t)fds[i].events | ALWAYS));
        ready += fds[i].revents != 0;
    }
    return ready;
}

static int64_t poll_until(uint64_t fds, uint64_t n, uint64_t deadline_ns)
{
    int64_t ready;
    if (n > FILES_MAX)
        return -EINVAL;
    if (!user_ok(fds, n * sizeof(struct pollfd)))
        return -EFAULT;
    do
        ready = look_at((struct pollfd *)fds, n);
    while (!ready && wait_more(deadline_ns));
    return ready;
}

int64_t sys_poll(const uint64_t a[6])
{
    return poll_until(a[0], a[1], deadline_of_ms(a[2]));
}

// The deadline of an optional struct timespec.
static int deadline_of_timespec(uint64_t address, uint64_t *ret)
{
    uint64_t ns;
    *ret = NEVER;
    int rc = address ? time_get(address, &ns) : 0;
    if (rc == 0 && address)
        *ret = time_deadline(ns);
    return rc;
}

int64_t sys_ppoll(const uint64_t a[6])
{
    uint64_t deadline;
    int rc = deadline_of_timespec(a[2], &deadline);
    return rc < 0 ? rc : poll_until(a[0], a[1], deadline);
}

struct sets {
    uint64_t words[3][SET_WORDS]; // read, write, except
};

// One look; fills `out`. Ready bits, or -EBADF.
static int64_t look_at_sets(const struct sets *in, struct sets *out, uint64_t n)
{
    static const uint32_t wanted[3] = {SET_READ, SET_WRITE, SET_EXCEPT};
    int64_t ready = 0;
    memset(out, 0, sizeof *out);
    for (uint64_t fd = 0; fd < n; fd++) {
        uint64_t bit = 1ull << (fd % 64), word = fd / 64;
        if (!((in->words[0][word] | in->words[1][word] | in->words[2][word]) & bit))
            continue;
        struct file *file = files_get(fd);
        if (!file)
            return -EBADF;
        uint32_t events = file_poll(file);
        for (int k = 0; k < 3; k++)
            if ((in->words[k][word] & bit) && (events & wanted[k])) {
                out->words[k][word] |= bit;
                ready++;
            }
    }
    return ready;
}

static int64_t select_until(const uint64_t a[6], uint64_t deadline_ns)
{
    struct sets in, out;
    uint64_t n = a[0] < FILES_MAX ? a[0] : FILES_MAX, bytes = (n + 63) / 64 * 8;
    int64_t ready;
    if ((int)a[0] < 0)
        return -EINVAL;
    memset(&in, 0, sizeof in);
    for (int k = 0; k < 3; k++)
        if (a[1 + k] && user_get(in.words[k], a[1 + k], bytes) < 0)
            return -EFAULT;
    do
        ready = look_at_sets(&in, &out, n);
    while (!ready && wait_more(deadline_ns));
    for (int k = 0; k < 3 && ready >= 0; k++)
        if (a[1 + k] && user_put(a[1 + k], out.words[k], bytes) < 0)
            return -EFAULT;
    return ready;
}

int64_t sys_select(const uint64_t a[6])
{
    struct timeval t;
    uint64_t deadline = NEVER;
    if (a[4]) {
        if (user_get(&t, a[4], sizeof t) < 0)
            return -EFAULT;
        if (t.tv_sec < 0 || t.tv_usec < 0)
            return -EINVAL;
        if ((uint64_t)t.tv_sec < NEVER / NS_PER_SECOND / 2)
            deadline = time_deadline((uint64_t)t.tv_sec * NS_PER_SECOND + (uint64_t)t.tv_usec * 1000);
    }
    return select_until(a, deadline);
}

int64_t sys_pselect6(const uint64_t a[6])
{
    uint64_t deadline;
    int rc = deadline_of_timespec(a[4], &deadline);
    return rc < 0 ? rc : select_until(a, deadline);
}

static int64_t new_epoll(uint64_t flags)
{
    struct file *file = epoll_new(0);
    return file ? files_install(file, 0, flags & O_CLOEXEC) : -ENOMEM;
}

int64_t sys_epoll_create(const uint64_t a[6])
{
    return (int)a[0] <= 0 ? -EINVAL : new_epoll(0);
}

int64_t sys_epoll_create1(const uint64_t a[6])
{
    return new_epoll(a[0]);
}

int64_t sys_epoll_ctl(const uint64_t a[6])
{
    struct file *epoll = files_get(a[0]), *target = files_get(a[2]);
    struct epoll_event event = {.events = 0};
    if (!epoll || !target)
        return -EBADF;
    if (!epoll_is(epoll))
        return -EINVAL;
    if (a[1] != EPOLL_CTL_DEL && user_get(&event, a[3], sizeof event) < 0)
        return -EFAULT;
    return epoll_control(epoll, (int)a[1], a[2], target, &event);
}

int64_t sys_epoll_wait(const uint64_t a[6])
{
    struct epoll_event events[EVENTS_MAX];
    struct file *epoll = files_get(a[0]);
    int max = (int)a[2];
    size_t n;
    if (!epoll)
        return -EBADF;
    if (!epoll_is(epoll) || max <= 0)
        return -EINVAL;
    if (!user_ok(a[1], (uint64_t)max * sizeof events[0]))
        return -EFAULT;
    uint64_t deadline = deadline_of_ms(a[3]);
    do
        n = epoll_collect(epoll, events, max < EVENTS_MAX ? (size_t)max : EVENTS_MAX);
    while (!n && wait_more(deadline));
    memcpy((void *)a[1], events, n * sizeof events[0]);
    return (int64_t)n;
}
