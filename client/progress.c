// Owns the progress line. Called by whatever moves many bytes; one transfer at a time.
#include "progress.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"

#define INTERVAL_NS 200000000ull
#define WARMUP_NS   500000000ull // what is over sooner needs no line

static struct {
    const char *what;
    uint64_t began_ns, shown_ns;
    bool visible;
} line;

void progress_show(const char *what, uint64_t done_bytes, uint64_t total_bytes)
{
    uint64_t now = io_monotonic_ns();
    if (!isatty(STDERR_FILENO))
        return;
    if (!line.what || strcmp(line.what, what) != 0) {
        progress_end();
        line.what = what;
        line.began_ns = line.shown_ns = now;
    }
    if (now - line.began_ns < WARMUP_NS || now - line.shown_ns < INTERVAL_NS)
        return;
    double mib = (double)done_bytes / (1 << 20), seconds = (double)(now - line.began_ns) / 1e9;
    fprintf(stderr, "\r%s: %.0f", what, mib);
    if (total_bytes)
        fprintf(stderr, " of %.0f", (double)total_bytes / (1 << 20));
    fprintf(stderr, " MiB, %.0f MiB/s\033[K", mib / seconds);
    line.shown_ns = now;
    line.visible = true;
}

void progress_end(void)
{
    if (line.visible)
        fputs("\r\033[K", stderr);
    line.what = NULL;
    line.visible = false;
}
