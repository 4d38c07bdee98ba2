// Looks for a kernel's last words in what a Linux guest writes on its consoles. Pure. A guest that fakes them
// fools nobody but its owner: they only name the cause of an end that comes anyway.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PANIC_LINE_MAX 200u

struct panic_watch {
    char line[PANIC_LINE_MAX + 1]; // the one that is being written, printable
    size_t len;
    char text[PANIC_LINE_MAX + 1]; // from "Kernel panic - not syncing" on; empty: there was none
    uint64_t at_ns;
};

void panic_watch_feed(struct panic_watch *w, const uint8_t *untrusted_data, size_t len, uint64_t now_ns);
// The words, if they came at most max_age_ns ago; or NULL.
const char *panic_watch_text(const struct panic_watch *w, uint64_t now_ns, uint64_t max_age_ns);
