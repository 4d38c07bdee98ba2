// Owns the writing side of a log ring. Called by machine with what the console device hands out; the file was
// preallocated by envd, so that no write needs space.
#include "guest_log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NS_PER_S   1000000000ull
#define HEADER_LEN 32u

void token_bucket_init(struct token_bucket *b, uint64_t rate_per_s, uint64_t burst, uint64_t now_ns)
{
    *b =
        (struct token_bucket){.rate_per_s = rate_per_s, .burst = burst, .tokens = burst, .filled_ns = now_ns};
}

static void refill(struct token_bucket *b, uint64_t now_ns)
{
    const uint64_t elapsed = now_ns > b->filled_ns ? now_ns - b->filled_ns : 0;
    const unsigned __int128 earned = (unsigned __int128)elapsed * b->rate_per_s / NS_PER_S;
    if (earned == 0)
        return; // keep the fraction: filled_ns stays
    const uint64_t room = b->burst - b->tokens;
    b->tokens += earned < room ? (uint64_t)earned : room;
    b->filled_ns = now_ns;
}

size_t token_bucket_take(struct token_bucket *b, size_t n, uint64_t now_ns)
{
    if (b->rate_per_s == 0)
        return n;
    refill(b, now_ns);
    const size_t got = n < b->tokens ? n : (size_t)b->tokens;
    b->tokens -= got;
    return got;
}

int guest_log_init(struct guest_log *log, int fd, uint32_t bytes_per_s, uint32_t burst_bytes, uint64_t now_ns,
                   struct err *err)
{
    uint8_t raw[LOGRING_HEADER];
    ssize_t n = pread(fd, raw, sizeof raw, 0);
    if (n < 0)
        return err_errno(err, -errno, "read the log's header");
    struct logring ring;
    const char *wrong = n == (ssize_t)sizeof raw ? logring_header_read(raw, &ring) : "the file is too short";
    if (wrong)
        return err_set(err, -EINVAL, "the log is no log ring: %s", wrong);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_errno(err, -errno, "look at the log");
    if ((uint64_t)st.st_size < LOGRING_HEADER + ring.capacity)
        return err_set(err, -EINVAL, "the log is shorter than its header says");
    *log = (struct guest_log){.fd = fd, .ring = ring};
    // A bucket that cannot hold a line would never let one through.
    token_bucket_init(&log->bucket, bytes_per_s, burst_bytes < 256 ? 256 : burst_bytes, now_ns);
    return 0;
}

// Appends n <= capacity bytes. A failed write (the file was taken away) counts as dropped.
static void append(struct guest_log *log, const uint8_t *data, size_t n)
{
    struct logring_span spans[2];
    const size_t n_spans = logring_spans(&log->ring, log->ring.total, n, spans);
    for (size_t i = 0; i < n_spans; i++) {
        if (pwrite(log->fd, data, spans[i].len, (off_t)spans[i].file_offset) != (ssize_t)spans[i].len)
            log->ring.dropped += spans[i].len;
        data += spans[i].len;
    }
    log->ring.total += n;
    log->header_dirty = true;
}

static void append_text(struct guest_log *log, const char *text)
{
    append(log, (const uint8_t *)text, strlen(text));
    log->line_open = false;
}

void guest_log_note(struct guest_log *log, const char *text)
{
    char line[256];
    snprintf(line, sizeof line, "%s[envvm: %.200s]\n", log->line_open ? "\n" : "", text);
    append_text(log, line);
}

void guest_log_settle(struct guest_log *log)
{
    if (log->dropped_run == 0)
        return;
    char text[128];
    snprintf(text, sizeof text, "%llu bytes dropped: more than %llu bytes per second",
             (unsigned long long)log->dropped_run, (unsigned long long)log->bucket.rate_per_s);
    log->dropped_run = 0;
    guest_log_note(log, text);
}

void guest_log_write(struct guest_log *log, const uint8_t *untrusted_data, size_t len, uint64_t now_ns)
{
    size_t keep = token_bucket_take(&log->bucket, len, now_ns);
    if (keep < len) {
        log->ring.dropped += len - keep;
        log->header_dirty = true;
    }
    if (keep > 0) {
        guest_log_settle(log);
        log->line_open = untrusted_data[keep - 1] != '\n';
    }
    log->dropped_run += len - keep;
    while (keep > 0) {
        const size_t n = keep < log->ring.capacity ? keep : (size_t)log->ring.capacity;
        append(log, untrusted_data, n);
        untrusted_data += n;
        keep -= n;
    }
}

bool guest_log_flush(struct guest_log *log)
{
    if (!log->header_dirty)
        return false;
    uint8_t raw[HEADER_LEN];
    logring_header_write(&log->ring, raw);
    // After the data: a torn write loses the newest bytes and nothing else. Failing, the next one tries
    // again.
    log->header_dirty = pwrite(log->fd, raw, sizeof raw, 0) != (ssize_t)sizeof raw;
    return true;
}
