// The kernel's own voice: log lines on the console, and the last words. Called from everywhere.
#include "base/kernel.h"
#include "base/text.h"
#include "drivers/console.h"

#define LOG_LINE_MAX 256

void kernel_log(const char *format, ...)
{
    char line[LOG_LINE_MAX] = "cell: ";
    va_list ap;
    va_start(ap, format);
    size_t n = 6 + text_vformat(line + 6, sizeof line - 7, format, ap);
    va_end(ap);
    line[n++] = '\n';
    console_write_nowait(line, n);
}

void kernel_panic(const char *format, ...)
{
    struct cell_shared *shared = cell_shared();
    va_list ap;
    va_start(ap, format);
    text_vformat(shared->panic_text, sizeof shared->panic_text, format, ap);
    va_end(ap);
    for (;;)
        port_out(CELL_PORT_PANIC, 0);
}
