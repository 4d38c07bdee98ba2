// The guest's log: console bytes into the log ring file (proto/logring.h), through a token bucket. What
// exceeds the rate is dropped, counted, and said so in the log. I/O thread only; knows no console.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "proto/logring.h"

// rate 0: unlimited. The bucket starts full.
struct token_bucket {
    uint64_t rate_per_s, burst;
    uint64_t tokens;
    uint64_t filled_ns;
};

void token_bucket_init(struct token_bucket *b, uint64_t rate_per_s, uint64_t burst, uint64_t now_ns);
// Takes up to n tokens; returns how many it got.
size_t token_bucket_take(struct token_bucket *b, size_t n, uint64_t now_ns);

struct guest_log {
    int fd; // the caller's
    struct logring ring;
    struct token_bucket bucket;
    uint64_t dropped_run; // bytes dropped since the last kept one
    bool line_open;       // the last kept byte did not end a line
    bool header_dirty;
};

// Reads the ring's header from fd. 0 or -errno: no log ring, or one shorter than it says.
int guest_log_init(struct guest_log *log, int fd, uint32_t bytes_per_s, uint32_t burst_bytes, uint64_t now_ns,
                   struct err *err);
// Appends what the rate allows. Bytes are the guest's and are kept as they are.
void guest_log_write(struct guest_log *log, const uint8_t *untrusted_data, size_t len, uint64_t now_ns);
// Appends a line of envvm's own, "[envvm: text]", past the rate limit. text is short.
void guest_log_note(struct guest_log *log, const char *text);
// Says what was dropped, if something was since the last kept byte. Before the end.
void guest_log_settle(struct guest_log *log);
// Writes the header if it changed; returns true when it did. Data is written at once, the header once per
// round.
bool guest_log_flush(struct guest_log *log);
