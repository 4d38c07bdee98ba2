// A journal: records on disk that outlive the process and the machine's power, each made durable in a group
// with others, until they are forgotten. It knows nothing of what the records say. The router's mailboxes are
// its callers. One per folder, on one loop's thread; io_uring does the work and nothing blocks but
// journal_open() and journal_close().
//
// Groups need no timer: while one write and fdatasync runs, the next group gathers. Records lie in segment
// files of one size, which are preallocated and used again once nothing in them is needed; what is still
// needed of the oldest one is copied when too much of the journal is dead.
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/err.h"

#define JOURNAL_TYPE_MAX 0xEF // record types above are the journal's own
#define JOURNAL_WHY_CAP  192

struct journal;

struct journal_config {
    const char *folder;     // made when absent, with mode 0700; its parent must be there
    uint64_t segment_bytes; // 0: 16 MiB; rounded to 4 KiB
    uint64_t bytes_max;     // of all segment files, 0: 4 GiB; at least 4 segments
};

struct journal_record {
    uint64_t seq; // in the order of appending, never used again
    uint8_t type;
    const void *data; // valid during the callback
    size_t len;
};

enum journal_state {
    JOURNAL_WRITABLE,
    JOURNAL_FULL,    // no room: the disk's or bytes_max; heals by itself
    JOURNAL_FAILING, // writing fails; tried again until it does not
    JOURNAL_STATE_COUNT
};

struct journal_cb {
    // Within journal_open(), in the order of seq: what is live, and what was forgotten but still lies in a
    // segment (live false). A negative result ends journal_open() with it. May be NULL.
    int (*on_recovered)(void *arg, const struct journal_record *r, bool live);
    // A forgotten record's segment is about to be used for others. What is still needed of the record is to
    // be appended now: the segment is not touched before that is durable. May append and forget. May be NULL.
    void (*on_dropped)(void *arg, const struct journal_record *r);
    // The state changed; why is a sentence for operators, "" when writable. May be NULL.
    void (*on_state)(void *arg, enum journal_state state, const char *why);
    // Something that had been durable is not readable, or a tail was torn: one sentence that says where and
    // how much. Within journal_open(), or later by cleaning. May be NULL.
    void (*on_damage)(void *arg, const char *what);
};

// 0: durable. -ENOSPC, -EDQUOT, -EFBIG: not written. -EIO: it may or may not survive a restart; it is
// forgotten as soon as the journal can write again. Never called within journal_append(). May append and
// forget, must not close.
typedef void journal_done_cb(void *arg, int rc);

// Recovers what the folder holds, then is ready; that it cannot write is a state, not an error. cb and arg
// must outlive the journal. 0, -EPERM or -ENOSYS (io_uring is forbidden here), what on_recovered said, or
// -errno.
int journal_open(struct event_base *base, const struct journal_config *config, const struct journal_cb *cb,
                 void *arg, struct journal **ret, struct err *err);
// Appends one record, the parts one after the other, copied. *ret_seq (may be NULL) is set before done is
// called. type: up to JOURNAL_TYPE_MAX. 0; or done is not called and nothing is written: -E2BIG (over
// journal_record_max()), -ENOBUFS (too much is under way: a moment later it is not), -ENOMEM, or the errno of
// the state the journal is in: -ENOSPC, -EDQUOT, -EFBIG, -EIO.
int journal_append(struct journal *j, uint8_t type, const struct iovec *parts, int n_parts,
                   journal_done_cb *done, void *arg, uint64_t *ret_seq);
// The record is not needed any more. Durable soon after, within some later group; nobody waits for it.
// Unknown seqs are fine.
void journal_forget(struct journal *j, uint64_t seq);
size_t journal_record_max(const struct journal *j);

struct journal_stats {
    enum journal_state state;
    char why[JOURNAL_WHY_CAP];
    uint64_t bytes, segments; // of files, spare ones included
    uint64_t live, live_bytes;
    uint64_t appends, syncs; // since it was opened: records made durable, fdatasyncs that did it
    uint64_t recovered;      // live records found by journal_open()
    uint64_t damaged;        // times that on_damage said so, torn tails apart
    uint64_t cleaned, copied_bytes;
};

void journal_get_stats(const struct journal *j, struct journal_stats *ret);
// Waits until what was appended is durable or has failed: its done is called. For the way down, and tests.
void journal_flush(struct journal *j);
// The same, forgetting included, and frees it. NULL is fine.
void journal_close(struct journal *j);
