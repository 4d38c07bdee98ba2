// System calls that make pipes, eventfds and timerfds.
#include <asm/fcntl.h>
#include <linux/errno.h>
#include <linux/time.h>
#include <linux/timerfd.h>

#include "base/kernel.h"
#include "fs/file.h"
#include "fs/pipe.h"
#include "fs/timerfd.h"
#include "sys/handlers.h"
#include "sys/user.h"

#define EFD_SEMAPHORE_ 1u

static int64_t make_pipe(uint64_t out, uint32_t flags)
{
    struct file *ends[2];
    int fds[2];
    if (!user_ok(out, sizeof fds))
        return -EFAULT;
    int rc = pipe_new(flags & O_NONBLOCK, ends);
    if (rc < 0)
        return rc;
    int64_t reader = files_install(ends[0], 0, flags & O_CLOEXEC);
    if (reader < 0) {
        file_unref(ends[1]);
        return reader;
    }
    int64_t writer = files_install(ends[1], 0, flags & O_CLOEXEC);
    if (writer < 0) {
        files_close((uint64_t)reader);
        return writer;
    }
    fds[0] = (int)reader;
    fds[1] = (int)writer;
    return user_put(out, fds, sizeof fds);
}

int64_t sys_pipe(const uint64_t a[6])
{
    return make_pipe(a[0], 0);
}

int64_t sys_pipe2(const uint64_t a[6])
{
    return make_pipe(a[0], (uint32_t)a[1]);
}

static int64_t make_eventfd(uint32_t value, uint32_t flags)
{
    struct file *file = eventfd_new(value, flags & EFD_SEMAPHORE_, flags & O_NONBLOCK);
    return file ? files_install(file, 0, flags & O_CLOEXEC) : -ENOMEM;
}

int64_t sys_eventfd(const uint64_t a[6])
{
    return make_eventfd((uint32_t)a[0], 0);
}

int64_t sys_eventfd2(const uint64_t a[6])
{
    return make_eventfd((uint32_t)a[0], (uint32_t)a[1]);
}

int64_t sys_timerfd_create(const uint64_t a[6])
{
    if (a[0] != CLOCK_REALTIME && a[0] != CLOCK_MONOTONIC && a[0] != CLOCK_BOOTTIME)
        return -EINVAL;
    struct file *file = timerfd_new(a[0] == CLOCK_REALTIME, (uint32_t)a[1] & O_NONBLOCK);
    return file ? files_install(file, 0, a[1] & O_CLOEXEC) : -ENOMEM;
}

static int find_timer(uint64_t fd, struct file **ret)
{
    *ret = files_get(fd);
    if (!*ret)
        return -EBADF;
    return timerfd_is(*ret) ? 0 : -EINVAL;
}

static bool to_ns(const struct timespec *t, uint64_t *ret)
{
    if (t->tv_sec < 0 || t->tv_nsec < 0 || t->tv_nsec >= (long)NS_PER_SECOND)
        return false;
    uint64_t seconds = (uint64_t)t->tv_sec;
    *ret = seconds > NEVER / NS_PER_SECOND / 2 ? NEVER / 2 : seconds * NS_PER_SECOND + (uint64_t)t->tv_nsec;
    return true;
}

static int put_setting(struct file *file, uint64_t out)
{
    uint64_t left, interval;
    timerfd_get(file, &left, &interval);
    struct itimerspec setting = {
        .it_interval = {(long)(interval / NS_PER_SECOND), (long)(interval % NS_PER_SECOND)},
        .it_value = {(long)(left / NS_PER_SECOND), (long)(left % NS_PER_SECOND)},
    };
    return user_put(out, &setting, sizeof setting);
}

int64_t sys_timerfd_settime(const uint64_t a[6])
{
    struct file *file;
    struct itimerspec setting;
    uint64_t value, interval;
    int rc = find_timer(a[0], &file);
    if (rc < 0)
        return rc;
    if (user_get(&setting, a[2], sizeof setting) < 0)
        return -EFAULT;
    if (!to_ns(&setting.it_value, &value) || !to_ns(&setting.it_interval, &interval))
        return -EINVAL;
    if (a[3] && put_setting(file, a[3]) < 0)
        return -EFAULT;
    timerfd_set(file, value, interval, a[1] & TFD_TIMER_ABSTIME);
    return 0;
}

int64_t sys_timerfd_gettime(const uint64_t a[6])
{
    struct file *file;
    int rc = find_timer(a[0], &file);
    return rc < 0 ? rc : put_setting(file, a[1]);
}
