// A host for a real envagent, in this process: the agent runs in namespaces of its own, its link is a Unix
// socket. Every call fails the test when nothing comes within ten seconds.
#pragma once

#include "testing.h"

#include <sys/types.h>

#include "proto/agent.h"
#include "proto/session.h"

#define OUTPUT_CAP (1u << 20)

struct host {
    char folder[64];  // of the agent's files
    char socket[108]; // for programs
    int listener;
    int link;  // -1: not connected
    pid_t pid; // of the agent
    uint32_t tag;
    uint32_t capabilities;
    uint8_t *frame; // what the last expect decoded
};

struct outcome {
    enum session_exit_kind kind;
    int value; // -1: refused, see error
    enum session_error error;
    char text[SESSION_ERROR_MAX + 1];
    size_t out_len, err_len;
    char *out, *err; // end with NUL
};

// Skips (77) where namespaces are not to be had.
int harness_enter(void);

// Starts envagent as an ordinary process: own mounts, network and host name.
struct host *host_start(void);
// The same as PID 1 of a minimal root, in a process namespace too. script: /etc/env/init, NULL: none.
struct host *host_start_init(const char *script);
void host_stop(struct host *h);
// Accepts the link, and answers HELLO.
void host_greet(struct host *h);
void host_say(struct host *h, struct agent_frame *f);
// The next frame of that type; others but CREDIT end the test.
struct agent_frame host_expect(struct host *h, enum agent_frame_type type);
// Says f, which gets a tag, and expects its RESULT. *ret_detail may be NULL.
enum receipt_code host_ask(struct host *h, struct agent_frame *f);
// Runs a shell line in the agent's network namespace, from outside.
void host_run_inside(struct host *h, const char *line);

// Opens a session: OPEN, ATTACH. A socket.
int session_open(struct host *h, enum agent_session_kind kind);
void session_say(int fd, const struct session_frame *f);
// Any next frame; false at the end of the stream. Views live until the next call.
bool session_next(int fd, struct session_frame *ret);
struct session_frame session_expect(int fd, enum session_frame_type type);
void session_say_data(int fd, enum session_frame_type type, const void *data, size_t n);

// EXEC of argv (ends with NULL) with what else is in e.
void exec_say(int fd, struct session_exec *e, const char *const *argv);
// The whole of a command that gets `input` (NULL: no STDIN).
struct outcome run_with(struct host *h, struct session_exec *e, const char *const *argv, const void *input,
                        size_t n);
struct outcome run_shell(struct host *h, const char *line);
void outcome_free(struct outcome *o);
struct wire_view text_view(const char *s);
void pause_ms(long ms);
