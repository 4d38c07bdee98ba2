// Reads one segment's image record by record, past damage, and says what it saw. Pure: files are recover.c's.
#pragma once

#include "journal/format.h"

struct scan_cb {
    // Every readable record that counts, in order. A negative result ends the scan with it.
    int (*on_record)(void *arg, const struct format_found *f);
    // Bytes [from, to) had been durable and are not readable.
    void (*on_lost)(void *arg, uint64_t from, uint64_t to);
    // The last group was not written completely: what is from here on does not count.
    void (*on_torn)(void *arg, uint64_t from);
};

// end: where the segment's records ended, as the segment after it says; 0: not known, it was the last one.
// *ret_end: the end of what counts.
int scan_segment(const void *untrusted, size_t len, uint64_t salt, uint64_t end, const struct scan_cb *cb,
                 void *arg, uint64_t *ret_end);
