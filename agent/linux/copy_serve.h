// A copy, done with blocking calls by a process of its own. Called by copy.c, and by tests.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/session.h"

// Serves one COPY on the stream fd, which it leaves open; behind: bytes that were read from it already.
// Returns 0 when END was said, 1 otherwise.
int copy_serve(int fd, const struct session_copy *c, const uint8_t *behind, size_t n_behind);
