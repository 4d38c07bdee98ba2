// Owns the format of log lines. Called by the top-level handlers of the host programs; must not fail or block on them.
#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_CAP 1024

static const char *program_name = "envd";
static enum log_level max_level = LOG_LEVEL_INFO;
static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_init(const char *program, enum log_level max)
{
    program_name = program;
    max_level = max;
}

// Escapes into out; returns the bytes written. Cuts rather than overflows.
static size_t escape(const char *in, char *out, size_t cap)
{
    size_t n = 0;
    for (; *in && n + 5 < cap; in++) {
        unsigned char c = (unsigned char)*in;
        if (c >= 0x20 && c != 0x7f)
            out[n++] = (char)c;
        else
            n += (size_t)snprintf(out + n, cap - n, "\\x%02x", c);
    }
    return n;
}

void log_line(enum log_level level, const char *about, const char *format, ...)
{
    if (level > max_level)
        return;
    char text[LINE_CAP / 2];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    char line[LINE_CAP];
    int head = snprintf(line, sizeof line / 4, "%s %s%s%s: ", level_names[level], program_name, about ? " " : "",
                        about ? about : "");
    size_t n = (size_t)head < sizeof line / 4 ? (size_t)head : sizeof line / 4 - 1;
    n += escape(text, line + n, sizeof line - n - 1);
    line[n++] = '\n';
    // Nowhere to report a failed log write to.
    ssize_t ignored = write(STDERR_FILENO, line, n);
    (void)ignored;
}
