// Copying of a session: files in and out, folders, links. Called by session.c. A child process does it, so
// that a slow disk never holds up messages, and with plain blocking calls.
#pragma once

#include "session.h"

// Forks the child, which gets the stream and the bytes that came behind the COPY frame; or fails the session.
void copy_start(struct session *s, const struct session_copy *c, const uint8_t *behind, size_t n_behind);
// The session ends: so does its child, which leaves nothing half-done.
void copy_forget(struct session *s);
