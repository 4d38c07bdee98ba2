// Follows the frames of a session (proto/session.h) as they pass from a guest to a client, without holding
// them up: for the record of how the session ended, and to stop what is no frame. Called by api/; pure.
#pragma once

#include "proto/session.h"

struct session_watch {
    uint8_t head[SESSION_HEADER_LEN];
    size_t head_len;
    struct session_header frame;  // under way
    uint32_t left;                // of its payload
    uint8_t first[2];             // bytes of its payload
    bool started, ended;          // ended: EXIT, ERROR or the transfer's END came
    enum session_frame_type last; // of those three
    uint8_t last_first[2];        // EXIT: kind and value; ERROR: code
};

// NULL, or what is wrong: nothing more may pass then.
const char *session_watch_feed(struct session_watch *w, const uint8_t *untrusted, size_t len);
// "exited 0", "signal 9", "error not-found", "complete"; "unfinished" before.
void session_watch_result(const struct session_watch *w, char *out, size_t cap);
