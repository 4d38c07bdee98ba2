// Owns the loop of a session with somebody on this side. Called by the verbs exec and console. Nothing is
// read that cannot be passed on: input only as far as the guest's credit goes, frames only when the output
// before them is written.
#include "interact.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "terminal.h"

#define INPUT_MAX   32768u
#define OUTPUT_MAX  4096u // PIPE_BUF: what poll() calls writable takes so much without blocking
#define SIGNALS_MAX 3     // the guest got two: the third ends this side

struct loop {
    struct interact *i;
    int signal_fd;
    bool input_open;
    uint32_t credit;
    const uint8_t *pending; // output: in the channel's buffer until the next frame is taken
    size_t n_pending;
    int pending_fd;
    unsigned n_signals;
    uint8_t early_signal; // that came before STARTED
    bool over;
    enum interact_end end;
    int value;
};

static void finish(struct loop *l, enum interact_end end, int value)
{
    if (l->over)
        return;
    l->over = true;
    l->end = end;
    l->value = value;
}

static void send_frame(struct loop *l, const struct session_frame *f)
{
    if (channel_send(l->i->channel, f) < 0)
        finish(l, INTERACT_CLOSED, 0);
}

static void send_size(struct loop *l)
{
    struct session_frame f = {.type = SESSION_RESIZE};
    if (!l->i->terminal || !l->i->started)
        return;
    terminal_size(STDIN_FILENO, &f.size.cols, &f.size.rows);
    send_frame(l, &f);
}

// --- from the guest ---

static void take_output(struct loop *l, int fd, const struct session_frame *f)
{
    l->pending = f->data.data;
    l->n_pending = f->data.len;
    l->pending_fd = fd;
}

static void handle(struct loop *l, const struct session_frame *f)
{
    switch (f->type) {
    case SESSION_STARTED:
        l->i->started = true;
        send_size(l); // it may have changed since it was asked for
        if (l->early_signal)
            send_frame(l, &(struct session_frame){.type = SESSION_SIGNAL, .signal = l->early_signal});
        break;
    case SESSION_STDOUT:
        take_output(l, STDOUT_FILENO, f);
        break;
    case SESSION_STDERR:
        take_output(l, STDERR_FILENO, f);
        break;
    case SESSION_CREDIT:
        l->credit = f->credit > SESSION_CREDIT_MAX - l->credit ? SESSION_CREDIT_MAX : l->credit + f->credit;
        break;
    case SESSION_EXIT:
        finish(l, f->exit.kind == SESSION_SIGNALLED ? INTERACT_SIGNALLED : INTERACT_EXITED, f->exit.value);
        break;
    case SESSION_ERROR:
        channel_explain(l->i->cli, l->i->what, f);
        finish(l, INTERACT_REFUSED, (int)f->error.code);
        break;
    default:
        cli_fail(l->i->cli, CLI_ERROR, "%s: the guest's agent sent a %s frame out of place", l->i->what,
                 session_frame_type_name(f->type));
        finish(l, INTERACT_FAILED, 0);
    }
}

static void take_frames(struct loop *l)
{
    struct session_frame f;
    int rc = 1;
    while (!l->over && l->n_pending == 0 && (rc = channel_next(l->i->channel, &f)) == 1)
        handle(l, &f);
    if (rc < 0) {
        cli_fail(l->i->cli, CLI_ERROR, "%s: the guest's agent sent what is no frame of a session",
                 l->i->what);
        finish(l, INTERACT_FAILED, 0);
    }
}

static void write_output(struct loop *l)
{
    size_t len = l->n_pending < OUTPUT_MAX ? l->n_pending : OUTPUT_MAX;
    ssize_t n = write(l->pending_fd, l->pending, len);
    if (n >= 0) {
        l->pending += n;
        l->n_pending -= (size_t)n;
    } else if (errno == EPIPE) { // as a program would end here
        finish(l, INTERACT_SIGNALLED, SIGPIPE);
    } else if (errno != EAGAIN && errno != EINTR) {
        cli_fail(l->i->cli, CLI_ERROR, "write the output: %s", strerror(errno));
        finish(l, INTERACT_FAILED, 0);
    }
}

// --- to the guest ---

static void send_input(struct loop *l, const uint8_t *data, size_t len)
{
    if (len == 0)
        return;
    l->credit -= (uint32_t)len;
    send_frame(l, &(struct session_frame){.type = SESSION_STDIN, .data = {data, len}});
}

static void read_input(struct loop *l)
{
    uint8_t data[INPUT_MAX];
    ssize_t n = read(STDIN_FILENO, data, l->credit < sizeof data ? l->credit : sizeof data);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        l->input_open = false;
        send_frame(l, &(struct session_frame){.type = SESSION_STDIN_EOF});
        return;
    }
    const uint8_t *key = l->i->detach_key >= 0 ? memchr(data, l->i->detach_key, (size_t)n) : NULL;
    send_input(l, data, key ? (size_t)(key - data) : (size_t)n);
    if (key)
        finish(l, INTERACT_DETACHED, 0);
}

static void take_signal(struct loop *l)
{
    int number = terminal_next_signal(l->signal_fd);
    if (number == 0)
        return;
    if (number == SIGCONT)
        terminal_again();
    if (number == SIGCONT || number == SIGWINCH)
        send_size(l);
    else if (!l->i->signals || ++l->n_signals >= SIGNALS_MAX)
        finish(l, INTERACT_DETACHED, number);
    else if (!l->i->started)
        l->early_signal = (uint8_t)number;
    else
        send_frame(l, &(struct session_frame){.type = SESSION_SIGNAL, .signal = (uint8_t)number});
}

// --- the loop ---

static bool may_read_input(const struct loop *l)
{
    return l->i->input && l->input_open && l->i->started && l->credit > 0 &&
           channel_queued(l->i->channel) < CHANNEL_QUEUE_MAX;
}

static void receive(struct loop *l)
{
    int rc = channel_fill(l->i->channel);
    if (rc < 0 && rc != -EAGAIN)
        finish(l, INTERACT_CLOSED, 0);
}

static void wait_and_move(struct loop *l)
{
    enum { CHANNEL, SIGNALS, INPUT, OUTPUT };
    struct channel *c = l->i->channel;
    const bool writes = l->n_pending > 0;
    struct pollfd fds[] = {
        [CHANNEL] = {.fd = channel_fd(c),
                     .events = (short)((writes ? 0 : POLLIN) | (channel_queued(c) > 0 ? POLLOUT : 0))},
        [SIGNALS] = {.fd = l->signal_fd, .events = POLLIN},
        [INPUT] = {.fd = may_read_input(l) ? STDIN_FILENO : -1, .events = POLLIN},
        [OUTPUT] = {.fd = writes ? l->pending_fd : -1, .events = POLLOUT},
    };
    if (writes) // a hang-up of the channel would wake this loop over and over
        fds[CHANNEL].fd = channel_queued(c) > 0 ? fds[CHANNEL].fd : -1;
    if (poll(fds, sizeof fds / sizeof fds[0], -1) < 0)
        return;
    if (fds[SIGNALS].revents)
        take_signal(l);
    if (fds[OUTPUT].revents)
        write_output(l);
    if (fds[CHANNEL].revents & POLLOUT && channel_flush(c) < 0)
        finish(l, INTERACT_CLOSED, 0);
    if (!writes && fds[CHANNEL].revents & ~POLLOUT)
        receive(l);
    if (fds[INPUT].revents && !l->over)
        read_input(l);
}

// What has come before the other end closed still counts: an exit status above all.
static void take_rest(struct loop *l)
{
    if (l->end != INTERACT_CLOSED)
        return;
    l->over = false;
    do {
        take_frames(l);
        while (l->n_pending > 0 && !l->over)
            write_output(l);
        if (l->over)
            return;
    } while (channel_fill(l->i->channel) == 0);
    take_frames(l);
    finish(l, INTERACT_CLOSED, 0);
}

enum interact_end interact_run(struct interact *i, int *ret_value)
{
    struct loop l = {.i = i, .input_open = true, .signal_fd = terminal_signals()};
    if (l.signal_fd < 0) {
        cli_fail(i->cli, CLI_ERROR, "watch for signals: %s", strerror(-l.signal_fd));
        return INTERACT_FAILED;
    }
    send_size(&l);
    while (!l.over) {
        take_frames(&l);
        if (!l.over)
            wait_and_move(&l);
    }
    take_rest(&l);
    channel_flush(i->channel); // the last input before a detach
    close(l.signal_fd);
    *ret_value = l.value;
    return l.end;
}
