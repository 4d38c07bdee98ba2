// The control socket (proto/vmctl.h): states, streams, log hints, consoles and figures out; orders in. I/O
// thread only. Never blocks: the newest state and log size are kept until they can be sent, streams are
// queued up to a limit.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "outcome.h"

#define CONTROL_STREAMS_MAX 16u

struct control_stream {
    uint32_t guest_port, host_port;
    int fd;
};

// What envd asks for. Each may be NULL, but quit.
struct control_ops {
    void (*quit)(void *arg); // QUIT, or nobody holds the other end any more
    void (*pause)(void *arg);
    void (*resume)(void *arg);
    int (*console)(void *arg); // a descriptor, control's from now on, or -errno
    void (*resize)(void *arg, uint16_t columns, uint16_t rows);
    void (*balloon)(void *arg, uint32_t target_mib);
    void (*stats)(void *arg, struct vmctl_stats *ret);
};

struct control {
    int fd; // the caller's
    struct loop_source *source;
    const struct control_ops *ops;
    void *arg;
    struct outcome state; // as last set; also used for BOOTING and RUNNING
    uint64_t log_total;
    bool state_due, log_due, stats_due, console_due;
    int console_fd;                                     // while console_due; -1: there is none to have
    bool gone;                                          // the other end is closed
    struct control_stream streams[CONTROL_STREAMS_MAX]; // a ring, oldest at first_stream
    size_t first_stream, n_streams;
};

// fd becomes non-blocking. Nothing is received before control_watch(). 0 or -errno.
int control_init(struct control *c, int fd, struct err *err);
// Serves the socket in loop; arg goes to ops. 0 or -errno.
int control_watch(struct control *c, struct loop *loop, const struct control_ops *ops, void *arg);
// Closes streams that were not sent.
void control_done(struct control *c);

void control_set_state(struct control *c, const struct outcome *state);
void control_set_log(struct control *c, uint64_t total);
// Queues a stream; fd is the callee's now. 0, or -EAGAIN when too many wait already, -EPIPE when nobody is
// there; fd is closed then.
int control_add_stream(struct control *c, uint32_t guest_port, uint32_t host_port, int fd);
// Sends what is left, waiting at most timeout_ms for room. For the last words.
void control_finish(struct control *c, int timeout_ms);
