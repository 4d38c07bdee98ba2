// Finds what the folder holds: which files are segments of this journal and in which order, which records are
// live, what is damaged or missing. Everything is read within journal_open().
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "journal/internal.h"
#include "journal/scan.h"

#define EPOCH_RESTARTS_BITS 20 // room for openings before a journal made a millisecond later begins

// A file with what its first pages say.
struct file {
    uint32_t number;
    uint64_t bytes;
    uint64_t salt;
    struct format_open open;
    bool blank;    // nothing was ever written to it
    bool has_open; // its first record is there
    bool is_segment;
    struct segment *segment;
};

struct recovery {
    struct journal *j;
    struct file *files;
    size_t n_files, cap;
    uint64_t oldest;
    // of the segment that is scanned
    struct segment *segment;
    uint64_t last_seq;
};

static void say(struct recovery *r, const struct segment *s, bool was_durable, const char *what)
{
    char text[JOURNAL_WHY_CAP];
    snprintf(text, sizeof text, "segment %08u of %s: %s", s->number, r->j->folder, what);
    journal_damage(r->j, was_durable, text);
}

// --- which files there are ---

static bool is_blank(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

// The first page says what the file is; if it cannot be read, the first record does.
static void read_first_pages(struct file *f, const uint8_t *untrusted, size_t len)
{
    struct format_reader r = {.untrusted = untrusted, .len = len, .at = FORMAT_FIRST};
    struct format_open open;
    struct format_found found;
    struct format_record header;
    f->blank = is_blank(untrusted, len);
    f->is_segment = format_read_segment(untrusted, len, &f->salt, &f->open);
    if (!f->is_segment && len >= FORMAT_FIRST + sizeof header) {
        memcpy(&header, untrusted + FORMAT_FIRST, sizeof header);
        f->salt = header.salt;
    }
    r.salt = f->salt;
    if (f->salt != 0 && format_next(&r, &found) && format_read_open(&found, &open) &&
        (!f->is_segment || open.order == f->open.order)) {
        f->open = open;
        f->has_open = f->is_segment = true;
    }
}

static int add_file(struct recovery *r, uint32_t number)
{
    uint8_t pages[2 * FORMAT_PAGE];
    char name[NAME_LEN_CAP];
    struct stat st;
    segment_name(number, name);
    _cleanup_close_ int fd = openat(r->j->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 || fstat(fd, &st) < 0 ? -1 : pread(fd, pages, sizeof pages, 0);
    if (n < 0)
        return -errno;
    if (r->n_files == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 64;
        struct file *files = realloc(r->files, cap * sizeof *files);
        if (!files)
            return -ENOMEM;
        r->files = files;
        r->cap = cap;
    }
    struct file *f = &r->files[r->n_files++];
    *f = (struct file){.number = number, .bytes = (uint64_t)st.st_size};
    read_first_pages(f, pages, (size_t)n);
    if (f->bytes > FORMAT_SEGMENT_MAX)
        f->is_segment = false;
    if (number >= r->j->next_number)
        r->j->next_number = number + 1;
    return 0;
}

static int find_files(struct recovery *r, struct err *err)
{
    int fd = dup(r->j->dir_fd), rc = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return err_errno(err, -errno, "list the folder");
    rewinddir(dir);
    for (struct dirent *e; rc == 0 && (e = readdir(dir));) {
        char *end, name[NAME_LEN_CAP];
        unsigned long number = strtoul(e->d_name, &end, 10);
        segment_name((uint32_t)number, name);
        if (number > 0 && number < UINT32_MAX && strcmp(name, e->d_name) == 0 &&
            (rc = add_file(r, (uint32_t)number)) < 0)
            err_errno(err, rc, "read %s", name);
    }
    closedir(dir);
    return rc;
}

static int by_order(const void *a, const void *b)
{
    const struct file *x = a, *y = b;
    if (x->open.order != y->open.order)
        return x->open.order < y->open.order ? -1 : 1;
    return (x->has_open > y->has_open) - (x->has_open < y->has_open);
}

// --- which records are live ---

static void on_forget(struct journal *j, const struct format_found *f)
{
    for (size_t i = 0; i + sizeof(uint64_t) <= f->len; i += sizeof(uint64_t)) {
        uint64_t seq;
        memcpy(&seq, f->data + i, sizeof seq);
        struct live *l = live_find(j, seq);
        if (l)
            l->forgotten = true;
        if (seq >= j->next_seq && seq < UINT64_MAX / 2)
            j->next_seq = seq + 1;
    }
}

static void on_oldest(struct recovery *r, const struct format_found *f)
{
    uint64_t oldest = 0;
    if (f->len == sizeof oldest)
        memcpy(&oldest, f->data, sizeof oldest);
    if (oldest > r->oldest && oldest <= r->segment->order)
        r->oldest = oldest;
}

static int on_record(void *arg, const struct format_found *f)
{
    struct recovery *r = arg;
    struct journal *j = r->j;
    if (f->type == FORMAT_TYPE_FORGET)
        on_forget(j, f);
    if (f->type == FORMAT_TYPE_OLDEST)
        on_oldest(r, f);
    if (f->type > JOURNAL_TYPE_MAX || f->seq == 0 || f->seq >= UINT64_MAX / 2)
        return 0;
    struct live *l = live_find(j, f->seq);
    if (!l && !(l = live_add(j, f->seq, f->type, f->len)))
        return -ENOMEM;
    if (l->len != f->len || l->type != f->type)
        return 0; // two records of one seq that differ: the earlier one counts
    live_place(j, l, r->segment, f->offset);
    r->last_seq = f->seq;
    if (f->seq >= j->next_seq)
        j->next_seq = f->seq + 1;
    return 0;
}

static void on_lost(void *arg, uint64_t from, uint64_t to)
{
    struct recovery *r = arg;
    char what[96];
    snprintf(what, sizeof what, "%" PRIu64 " bytes at %" PRIu64 " are damaged, after record %" PRIu64,
             to - from, from, r->last_seq);
    r->segment->damaged = true;
    say(r, r->segment, true, what);
}

static void on_torn(void *arg, uint64_t from)
{
    struct recovery *r = arg;
    char what[96];
    snprintf(what, sizeof what, "its tail from %" PRIu64 " on is torn, after record %" PRIu64, from,
             r->last_seq);
    say(r, r->segment, false, what);
}

static int read_image(struct journal *j, struct segment *s, size_t len, uint8_t *image)
{
    _cleanup_close_ int fd = segment_open(j, s, O_RDONLY);
    if (fd < 0)
        return fd;
    for (size_t at = 0; at < len;) {
        ssize_t n = pread(fd, image + at, len - at, (off_t)at);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return -EIO;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int scan_file(struct recovery *r, struct file *f, uint64_t end)
{
    static const struct scan_cb cb = {on_record, on_lost, on_torn};
    uint8_t *image = malloc(f->bytes ? f->bytes : 1);
    if (!image)
        return -ENOMEM;
    r->segment = f->segment;
    int read_rc = read_image(r->j, f->segment, f->bytes, image), rc = read_rc;
    if (read_rc == 0)
        rc = scan_segment(image, f->bytes, f->salt, end, &cb, r, &f->segment->end);
    free(image);
    if (read_rc != -EIO)
        return rc;
    f->segment->damaged = true;
    f->segment->end = FORMAT_FIRST;
    say(r, f->segment, true, "it cannot be read: Input/output error");
    return 0;
}

// --- what each file is ---

static int take_file(struct recovery *r, struct file *f)
{
    struct journal *j = r->j;
    struct segment *s = f->segment = segment_new(j, f->number);
    if (!s)
        return -ENOMEM;
    s->bytes = f->bytes;
    s->salt = f->salt;
    if (f->is_segment) {
        s->order = f->open.order;
        j->next_order = s->order >= j->next_order ? s->order + 1 : j->next_order;
        j->next_seq = f->open.next_seq > j->next_seq ? f->open.next_seq : j->next_seq;
        j->epoch = f->open.epoch > j->epoch ? f->open.epoch : j->epoch;
        r->oldest = f->open.oldest > r->oldest ? f->open.oldest : r->oldest;
    } else if (!f->blank) {
        s->damaged = true;
        say(r, s, true, "it cannot be told what it was");
    }
    return 0;
}

static void keep_as_spare(struct recovery *r, struct file *f)
{
    struct journal *j = r->j;
    if (f->segment->damaged || f->bytes != j->segment_bytes) {
        segment_discard(j, f->segment);
        return;
    }
    TAILQ_INSERT_TAIL(&j->spares, f->segment, link);
    j->n_spares++;
}

// What the next segment says about this one's end, when it is there to say it.
static uint64_t known_end(const struct recovery *r, size_t i)
{
    for (size_t k = i + 1; k < r->n_files; k++)
        if (r->files[k].has_open && r->files[k].open.prev_order == r->files[i].open.order)
            return r->files[k].open.prev_end;
    return 0;
}

static void check_chain(struct recovery *r, const struct file *f)
{
    uint64_t prev = f->open.prev_order;
    bool there = !f->has_open || prev < r->oldest || f->open.order < r->oldest;
    for (size_t i = 0; !there && i < r->n_files; i++)
        there = r->files[i].is_segment && r->files[i].open.order == prev;
    if (there)
        return;
    char what[96];
    snprintf(what, sizeof what, "the segment before it, of order %" PRIu64 ", is missing", prev);
    say(r, f->segment, true, what);
}

// A later segment said that earlier ones are not needed: whatever is live is not in them, though they are
// still there, and the records that say what in them is dead may not be.
static void forget_cleaned(struct recovery *r)
{
    const struct table *t = &r->j->live;
    for (size_t i = 0; i < t->n_slots; i++) {
        for (struct table_node *n = t->slots[i]; n; n = n->next) {
            struct live *l = table_entry(n, struct live, node);
            l->forgotten = l->forgotten || l->segment->order < r->oldest;
        }
    }
}

static int take_segments(struct recovery *r)
{
    struct journal *j = r->j;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->n_files; i++) {
        struct file *f = &r->files[i];
        if (!f->is_segment || f->open.order < r->oldest) {
            keep_as_spare(r, f);
            continue;
        }
        rc = scan_file(r, f, known_end(r, i));
        if (f->segment->end == FORMAT_FIRST && !f->has_open) {
            keep_as_spare(r, f); // it was made ready, and then not needed
            continue;
        }
        TAILQ_INSERT_TAIL(&j->closed, f->segment, link);
        j->n_closed++;
        j->last_order = f->segment->order;
        j->last_end = f->segment->end;
    }
    for (size_t i = 0; rc == 0 && i < r->n_files; i++)
        check_chain(r, &r->files[i]);
    forget_cleaned(r);
    return rc;
}

// --- telling ---

static int by_seq(const void *a, const void *b)
{
    const struct live *const *x = a, *const *y = b;
    return ((*x)->seq > (*y)->seq) - ((*x)->seq < (*y)->seq);
}

struct source { // the segment that was read last: records of one mostly follow each other
    struct segment *segment;
    int fd;
};

static int tell(struct journal *j, struct live *l, struct source *from, uint8_t *buffer)
{
    if (from->segment != l->segment) {
        if (from->fd >= 0)
            close(take_fd(&from->fd));
        from->segment = l->segment;
        from->fd = segment_open(j, l->segment, O_RDONLY);
        if (from->fd < 0)
            return from->fd;
    }
    ssize_t n = pread(from->fd, buffer, l->len, (off_t)(l->offset + sizeof(struct format_record)));
    if (n != (ssize_t)l->len)
        return n < 0 ? -errno : -EIO;
    const struct journal_record record = {l->seq, l->type, buffer, l->len};
    return j->cb.on_recovered ? j->cb.on_recovered(j->arg, &record, !l->forgotten) : 0;
}

// The records in the order of their seqs, and the longest one's length.
static void collect(const struct journal *j, struct live **all, size_t *ret_longest)
{
    size_t k = 0;
    *ret_longest = 1;
    for (size_t i = 0; i < j->live.n_slots; i++) {
        for (struct table_node *node = j->live.slots[i]; node; node = node->next) {
            all[k] = table_entry(node, struct live, node);
            *ret_longest = all[k]->len > *ret_longest ? all[k]->len : *ret_longest;
            k++;
        }
    }
    qsort(all, k, sizeof(struct live *), by_seq); // NOLINT(bugprone-sizeof-expression): an array of pointers
}

static int tell_all(struct journal *j)
{
    size_t n = j->live.n_nodes, longest;
    struct live **all = calloc(n + 1, sizeof(struct live *)); // NOLINT(bugprone-sizeof-expression): the same
    if (!all)
        return -ENOMEM;
    collect(j, all, &longest);
    uint8_t *buffer = malloc(longest);
    struct source from = {.fd = -1};
    int rc = buffer ? 0 : -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        if (rc == 0)
            rc = tell(j, all[i], &from, buffer);
        if (all[i]->forgotten)
            live_remove(j, all[i]);
    }
    if (from.fd >= 0)
        close(from.fd);
    free(buffer);
    free(all);
    return rc;
}

int recover(struct journal *j, struct err *err)
{
    struct recovery r = {.j = j};
    int rc = find_files(&r, err);
    if (rc < 0) {
        free(r.files);
        return rc;
    }
    if (r.n_files > 0)
        qsort(r.files, r.n_files, sizeof *r.files, by_order);
    for (size_t i = 0; rc == 0 && i < r.n_files; i++)
        rc = take_file(&r, &r.files[i]);
    if (rc == 0)
        rc = take_segments(&r);
    free(r.files);
    if (rc == 0)
        rc = tell_all(j);
    if (rc < 0)
        return err_errno(err, rc, "recover its records");
    j->durable_oldest = r.oldest;
    j->stats.recovered = j->live.n_nodes;
    uint64_t now = io_realtime_ms() << EPOCH_RESTARTS_BITS;
    j->epoch = j->epoch ? j->epoch + 1 : now;
    return 0;
}
