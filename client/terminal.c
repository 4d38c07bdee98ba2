// Owns the terminal's mode and the process's signals during a session. Called by the verbs exec,
// console and top.
#include "terminal.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

static struct {
    int fd;
    bool raw, registered;
    struct termios before, during;
} saved = {.fd = -1};

void terminal_restore(void)
{
    if (saved.raw)
        tcsetattr(saved.fd, TCSADRAIN, &saved.before);
    saved.raw = false;
}

void terminal_again(void)
{
    if (saved.raw)
        tcsetattr(saved.fd, TCSADRAIN, &saved.during);
}

static int change(int fd, void (*to)(struct termios *mode))
{
    if (tcgetattr(fd, &saved.before) < 0)
        return -errno;
    if (!saved.registered && atexit(terminal_restore) != 0)
        return -ENOMEM;
    saved.registered = true;
    saved.during = saved.before;
    to(&saved.during);
    if (tcsetattr(fd, TCSADRAIN, &saved.during) < 0)
        return -errno;
    saved.fd = fd;
    saved.raw = true;
    return 0;
}

int terminal_raw(int fd)
{
    return change(fd, cfmakeraw);
}

static void keys_only(struct termios *mode)
{
    mode->c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    mode->c_cc[VMIN] = 1;
    mode->c_cc[VTIME] = 0;
}

int terminal_keys(int fd)
{
    return change(fd, keys_only);
}

void terminal_size(int fd, uint16_t *ret_cols, uint16_t *ret_rows)
{
    struct winsize size;
    bool known = ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0;
    *ret_cols = known ? size.ws_col : 80;
    *ret_rows = known ? size.ws_row : 24;
}

int terminal_signals(void)
{
    static const int watched[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof watched / sizeof watched[0]; i++)
        sigaddset(&set, watched[i]);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int terminal_next_signal(int fd)
{
    struct signalfd_siginfo info;
    return read(fd, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}
