// What the journal's files share: segments, groups, and what is live. Callers include journal.h.
#pragma once

#include <sys/queue.h>

#include "common/table.h"
#include "journal/format.h"
#include "journal/journal.h"
#include "journal/ring.h"

#define RESERVE_SEGMENTS 1          // spare ones that only cleaning may use
#define GROUP_BYTES      (1u << 20) // a group takes no more records above this
#define PENDING_MAX      (256u << 20)
#define FORGETS_MAX      4096 // of one group
#define SLICE_BYTES      (256u << 10)
#define RETRY_US         250000
#define FORGET_DELAY_US  20000
#define NAME_LEN_CAP     40

struct segment {
    TAILQ_ENTRY(segment) link;
    uint32_t number; // its file's name
    int fd;          // -1: nothing is written to it now
    uint64_t order, salt;
    uint64_t bytes;      // of its file
    uint64_t end;        // what is behind is not durable, or not there
    uint64_t live_bytes; // of records that are still needed
    bool damaged;        // to be set aside, not used again
};
TAILQ_HEAD(segment_list, segment);

// A record that is needed, or, while the journal is opened, that was.
struct live {
    struct table_node node; // by seq
    uint64_t seq;
    struct segment *segment; // NULL: not durable yet
    uint64_t offset;
    uint32_t size, len;
    uint8_t type;
    bool forgotten; // only within journal_open()
};

struct item {
    uint64_t seq;
    size_t offset; // in the group's buffer
    uint32_t len;
    uint8_t type;
    bool copied; // by cleaning: it is durable elsewhere
    journal_done_cb *done;
    void *arg;
};

// Records that become durable at once. Its buffer begins with place for the first record of a segment, and
// ends with place for forgotten seqs and for zeros up to the end of the page.
struct group {
    TAILQ_ENTRY(group) link;
    uint8_t *data;
    size_t len, cap;
    struct item *items;
    size_t n_items, items_cap;
    uint64_t *forgets;
    size_t n_forgets;
    unsigned attempts;
    bool cleaning; // copies: may use the reserve
    bool probe;    // asks whether writing works again
};
TAILQ_HEAD(group_list, group);

enum job { JOB_NONE, JOB_ALLOCATE, JOB_HEAD };

// The making ready of segments, one at a time (prepare.c).
struct preparing {
    struct ring_task task;
    enum job job;
    struct segment *segment;
    uint8_t *page;
    void *zeros; // zeros_len of them
    size_t zeros_len;
    uint64_t oldest; // what the header says that is written
    int rc;          // why the last one failed; 0: it did not
};

// The cleaning of the oldest segment (clean.c).
struct cleaning {
    struct ring_task task;
    struct segment *segment; // NULL: none is cleaned
    uint8_t *image;
    int fd;
    bool reading, read, failed;
    size_t at;          // everything before it was copied or dropped
    bool ended;         // everything was
    struct group *into; // while on_dropped is called: what takes its records
    unsigned turn;
};

struct journal {
    struct event_base *base;
    struct journal_cb cb;
    void *arg;
    char *folder;
    int dir_fd;
    uint64_t segment_bytes, segments_max;
    struct ring ring;

    struct table live;
    uint64_t live_bytes;
    uint64_t next_seq, next_order, epoch;
    uint32_t next_number;

    struct segment_list closed;    // by order
    struct segment_list spares;    // the longest unused first
    struct segment *active;        // what groups are written to
    struct segment *next;          // made ready to be the active one
    uint64_t last_order, last_end; // of the segment written before the active one, or most recently
    unsigned n_closed, n_spares, n_segments;
    uint64_t durable_oldest; // segments below are not looked at by a recovery any more

    struct group_list waiting; // the last one still gathers
    uint64_t waiting_bytes;
    struct group *writing; // NULL: none
    struct group *reusable;
    uint64_t write_at;
    uint64_t write_len;
    bool opening; // the group under way is the first of its segment
    struct ring_task write_task;

    struct preparing preparing;
    struct cleaning cleaning;
    struct event *kick, *retry, *forget_timer;
    bool forgets_due, closing;
    int refuse_rc; // what appends are told in the states that refuse
    struct journal_stats stats;
};

// journal.c
void journal_set_state(struct journal *j, enum journal_state state, int rc, const char *why);
void journal_damage(struct journal *j, bool was_durable, const char *what);

// segment.c: files. Names are "<number>.seg" in the folder.
void segment_name(uint32_t number, char ret[NAME_LEN_CAP]);
struct segment *segment_new(struct journal *j, uint32_t number);
int segment_open(struct journal *j, struct segment *s, int flags); // a descriptor or -errno
void segment_close(struct segment *s);
// Takes it out of the journal and frees it. Its file is deleted, or, when damaged, kept under another name.
void segment_discard(struct journal *j, struct segment *s);
uint64_t segment_oldest(const struct journal *j); // the lowest order of those that are needed

// live.c
struct live *live_find(const struct journal *j, uint64_t seq);
struct live *live_add(struct journal *j, uint64_t seq, uint8_t type, size_t len); // NULL: no memory
void live_place(struct journal *j, struct live *l, struct segment *s, uint64_t offset);
void live_remove(struct journal *j, struct live *l);

// group.c
struct group *group_new(struct journal *j);
void group_free(struct group *g); // NULL is fine
void group_recycle(struct journal *j, struct group *g);
// Adds a record; its index in the group, or -ENOMEM.
int group_add(struct group *g, const struct item *item, const struct iovec *parts, int n_parts);
int group_forget(struct group *g, uint64_t seq);
bool group_is_empty(const struct group *g);
size_t group_bytes(const struct group *g); // of its records
// What the group takes in a segment, at most.
size_t group_size(const struct group *g);
// The group that takes one more record of len bytes; NULL: no memory.
struct group *group_gathering(struct journal *j, size_t len);
// Completes the headers for a place in a segment. Returns the bytes from *ret on, padded to a page.
size_t group_seal(struct group *g, const struct segment *s, uint64_t at, const struct format_open *open,
                  const uint8_t **ret, uint64_t *ret_used);

// write.c
void write_done(struct ring_task *task, int rc);
void write_kick(struct journal *j);
// Starts what can be started: the next group, cleaning, making segments ready.
void write_step(struct journal *j);
// Ends every group that waits for room with rc.
void write_fail(struct journal *j, struct group *g, int rc); // one group
void write_fail_all(struct journal *j, int rc);

// prepare.c
int prepare_init(struct journal *j); // 0 or -ENOMEM: prepare_finish() then, too
void prepare_finish(struct journal *j);
void prepare_done(struct ring_task *task, int rc);
void prepare_step(struct journal *j);
// The next segment may be taken by a group: for anybody, or for cleaning alone.
bool prepare_may_take(const struct journal *j, bool cleaning);

// clean.c
void clean_read_done(struct ring_task *task, int rc);
void clean_step(struct journal *j);
// The next copies, or NULL: nothing is to be copied now.
struct group *clean_group(struct journal *j);
void clean_written(struct journal *j, bool ok);
bool clean_is_under_way(const struct journal *j);
void clean_stop(struct journal *j);

// recover.c
int recover(struct journal *j, struct err *err);
