// Waiting: pipes, eventfds, timerfds, poll, select, epoll, clocks and sleep.
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static uint64_t now_ns(clockid_t id)
{
    struct timespec t = {0, 0};
    CHECK(clock_gettime(id, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void check_pipe(void)
{
    int p[2], n = 0;
    static char big[70000];
    char text[16];
    CHECK(pipe(p) == 0 && write(p[1], "abc", 3) == 3 && ioctl(p[0], FIONREAD, &n) == 0 && n == 3);
    CHECK(read(p[0], text, sizeof text) == 3 && !memcmp(text, "abc", 3));
    CHECK(fcntl(p[1], F_SETFL, O_NONBLOCK) == 0 && fcntl(p[0], F_SETFL, O_NONBLOCK) == 0);
    CHECK(FAILS(read(p[0], text, 1), EAGAIN));
    CHECK(write(p[1], big, sizeof big) == 65536 && FAILS(write(p[1], big, 1), EAGAIN));
    CHECK(read(p[0], big, sizeof big) == 65536);
    CHECK(close(p[1]) == 0 && read(p[0], text, 1) == 0);
    CHECK(pipe2(p, O_CLOEXEC) == 0 && close(p[0]) == 0 && FAILS(write(p[1], "x", 1), EPIPE));
    CHECK(FAILS(pipe(ADDRESS(8)), EFAULT));
}

static void check_poll(void)
{
    int p[2];
    CHECK(pipe(p) == 0);
    struct pollfd fds[3] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}, {77, POLLIN, 0}};
    CHECK(poll(fds, 2, 0) == 1 && fds[0].revents == 0 && fds[1].revents == POLLOUT);
    uint64_t start = now_ns(CLOCK_MONOTONIC);
    CHECK(poll(fds, 1, 30) == 0 && now_ns(CLOCK_MONOTONIC) - start >= 30000000u);
    CHECK(write(p[1], "x", 1) == 1 && poll(fds, 1, -1) == 1 && fds[0].revents == POLLIN);
    CHECK(poll(fds, 3, 0) == 3 && fds[2].revents == POLLNVAL);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(p[0], &set);
    struct timeval tv = {0, 20000};
    CHECK(select(p[0] + 1, &set, NULL, NULL, &tv) == 1 && FD_ISSET(p[0], &set));
    char c;
    CHECK(read(p[0], &c, 1) == 1);
    struct timespec ts = {0, 20000000};
    CHECK(pselect(p[0] + 1, &set, NULL, NULL, &ts, NULL) == 0 && !FD_ISSET(p[0], &set));
    CHECK(ppoll(fds, 1, &ts, NULL) == 0);
    CHECK(close(p[1]) == 0 && poll(fds, 1, -1) == 1 && fds[0].revents == POLLHUP);
}

static void check_epoll(void)
{
    int p[2], ep = epoll_create1(EPOLL_CLOEXEC), ev = eventfd(0, EFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data = {.u64 = 0x1122334455667788}}, out[4];
    CHECK(pipe(p) == 0 && ep >= 0 && ev >= 0);
    CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e) == 0 &&
          FAILS(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e), EEXIST));
    e = (struct epoll_event){.events = EPOLLIN | EPOLLET, .data = {.fd = ev}};
    CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, ev, &e) == 0);
    CHECK(epoll_wait(ep, out, 4, 0) == 0 && epoll_wait(ep, out, 4, 10) == 0);
    CHECK(write(p[1], "x", 1) == 1 && epoll_wait(ep, out, 4, -1) == 1);
    CHECK(out[0].events == EPOLLIN && out[0].data.u64 == 0x1122334455667788);
    CHECK(epoll_wait(ep, out, 4, -1) == 1); // level triggered: still there
    uint64_t one = 1, got = 0;
    CHECK(write(ev, &one, 8) == 8 && epoll_wait(ep, out, 4, -1) == 2);
    CHECK(epoll_wait(ep, out, 4, -1) == 1); // the edge was reported
    CHECK(write(ev, &one, 8) == 8 && epoll_wait(ep, out, 4, -1) == 2);
    CHECK(read(ev, &got, 8) == 8 && got == 2 && FAILS(read(ev, &got, 8), EAGAIN));
    struct pollfd nested = {ep, POLLIN, 0};
    CHECK(poll(&nested, 1, 0) == 1);
    CHECK(epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL) == 0 && epoll_wait(ep, out, 4, 0) == 0);
    CHECK(FAILS(epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL), ENOENT));
    CHECK(FAILS(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &e), ELOOP));
    e.events = EPOLLIN | EPOLLONESHOT;
    CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e) == 0 && epoll_wait(ep, out, 4, 0) == 1);
    CHECK(epoll_wait(ep, out, 4, 0) == 0);
    close(p[0]); // forgets it
    CHECK(epoll_wait(ep, out, 4, 0) == 0);
}

static void check_timers(void)
{
    struct itimerspec spec = {.it_value = {0, 20000000}, .it_interval = {0, 10000000}}, left;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    uint64_t n = 0, start = now_ns(CLOCK_MONOTONIC);
    CHECK(fd >= 0 && timerfd_settime(fd, 0, &spec, NULL) == 0);
    CHECK(timerfd_gettime(fd, &left) == 0 && left.it_interval.tv_nsec == 10000000 &&
          left.it_value.tv_nsec > 0);
    CHECK(read(fd, &n, 8) == 8 && n >= 1 && now_ns(CLOCK_MONOTONIC) - start >= 20000000u);
    struct pollfd p = {fd, POLLIN, 0};
    CHECK(poll(&p, 1, -1) == 1 && p.revents == POLLIN);
    CHECK(read(fd, &n, 8) == 8);
}

static void check_clocks(void)
{
    uint64_t start = now_ns(CLOCK_MONOTONIC), last = start;
    for (int i = 0; i < 100000; i++) {
        uint64_t t = now_ns(CLOCK_MONOTONIC);
        if (t < last) {
            CHECK(!"monotonic time went back");
            break;
        }
        last = t;
    }
    uint64_t busy = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    struct timespec t = {0, 50000000};
    start = now_ns(CLOCK_MONOTONIC);
    CHECK(nanosleep(&t, NULL) == 0);
    uint64_t slept = now_ns(CLOCK_MONOTONIC) - start;
    CHECK(slept >= 50000000u && slept < 2000000000u);
    CHECK(now_ns(CLOCK_PROCESS_CPUTIME_ID) - busy < slept); // sleep is not work
    CHECK(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    t.tv_nsec += 10000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == 0);
    CHECK(now_ns(CLOCK_MONOTONIC) >= (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec);
    CHECK(now_ns(CLOCK_REALTIME) / 1000000000u > 1600000000u);
    CHECK((uint64_t)time(NULL) - now_ns(CLOCK_REALTIME) / 1000000000u <= 1);
    struct timespec bad = {0, 1000000000};
    CHECK(FAILS(nanosleep(&bad, NULL), EINVAL) && FAILS(clock_gettime(99, &t), EINVAL));
}

int main(void)
{
    check_pipe();
    check_poll();
    check_epoll();
    check_timers();
    check_clocks();
    return check_done("events");
}
