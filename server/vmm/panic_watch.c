// Owns the search for a panic's line. Called by machine_linux on the I/O thread.
#include "panic_watch.h"

#include <string.h>

static void end_line(struct panic_watch *w, uint64_t now_ns)
{
    w->line[w->len] = '\0';
    w->len = 0;
    const char *words = strstr(w->line, "Kernel panic - not syncing");
    if (!words || strstr(w->line, "end Kernel panic"))
        return;
    memcpy(w->text, words, strlen(words) + 1);
    w->at_ns = now_ns;
}

void panic_watch_feed(struct panic_watch *w, const uint8_t *untrusted_data, size_t len, uint64_t now_ns)
{
    for (size_t i = 0; i < len; i++) {
        const uint8_t c = untrusted_data[i];
        if (c == '\n')
            end_line(w, now_ns);
        else if (c >= 0x20 && c <= 0x7e && w->len < PANIC_LINE_MAX)
            w->line[w->len++] = (char)c;
    }
}

const char *panic_watch_text(const struct panic_watch *w, uint64_t now_ns, uint64_t max_age_ns)
{
    return w->text[0] && now_ns - w->at_ns <= max_age_ns ? w->text : NULL;
}
