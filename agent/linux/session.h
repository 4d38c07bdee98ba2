// Streams of sessions (proto/session.h): attached to the host by a token, then one exec or copy each. Called
// by main and guest; exec.c and copy.c do the work behind the frames.
#pragma once

#include <sys/types.h>

#include "common/loop.h"
#include "proto/agent.h"
#include "proto/session.h"
#include "transport.h"

#define SESSIONS_MAX 64
#define SESSION_OUT_HIGH                                                                                     \
    (128u << 10) // no more output of a command is read while this much waits for the client
#define SESSION_OUT_CAP (SESSION_OUT_HIGH + 2u * (SESSION_PAYLOAD_MAX + SESSION_HEADER_LEN))

struct sessions; // opaque
struct exec;

enum session_state {
    STREAM_CONNECTING,
    STREAM_OPENING, // waits for EXEC or COPY
    STREAM_EXEC,
    STREAM_COPY,      // a child process has the stream
    STREAM_LINGERING, // everything is said; waits for the client to close
};

struct session {
    struct sessions *owner;
    enum session_state state;
    struct id token;
    int fd;
    struct loop_source *source, *timer;
    uint32_t events;
    struct exec *exec;
    pid_t copy_pid; // the child of STREAM_COPY; 0: none
    bool finishing; // close when all output is written
    size_t in_len, out_len;
    uint8_t *in;  // one frame
    uint8_t *out; // SESSION_OUT_CAP bytes
};

// 0, or -ENOMEM. transport outlives it.
struct sessions *sessions_new(struct loop *loop, const struct transport *transport);
void sessions_free(struct sessions *all);
struct loop *sessions_loop(const struct sessions *all);
// Connects a stream that names the token. False: too many, or no connection, and *ret_why says so.
bool sessions_open(struct sessions *all, const struct id *token, const char **ret_why);
// Ends everything, as if every client had closed.
void sessions_end_all(struct sessions *all);

// For exec.c and copy.c:
bool session_has_room(const struct session *s); // for a frame of any length
void session_push(struct session *s, const struct session_frame *f);
// Writes what can be written and arms the descriptor; due after anything that pushed outside a frame's
// handler.
void session_flush(struct session *s);
// Says ERROR and ends the stream when that is written. what: for people.
__attribute__((format(printf, 3, 4))) void session_fail(struct session *s, enum session_error code,
                                                        const char *what, ...);
// Ends the stream when everything is written.
void session_finish(struct session *s);
