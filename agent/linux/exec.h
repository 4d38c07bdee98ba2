// One command of a session: its pipes or terminal, its input's credit, its end. Called by session.c.
#pragma once

#include "session.h"

struct exec; // opaque

// Starts what e asks for and sets s->exec, or fails the session.
void exec_start(struct session *s, const struct session_exec *e);
// Serves a frame of the client's.
void exec_handle(struct exec *x, const struct session_frame *f);
// The client has taken output: more may follow.
void exec_on_room(struct exec *x);
// The stream is closed. A command that still runs gets SIGHUP, its whole process group, and SIGKILL two
// seconds later. x may be NULL.
void exec_free(struct exec *x);
