// The journal from outside: opened, appended to, forgotten from, asked, closed. The work is in recover.c,
// group.c, write.c, prepare.c and clean.c.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "journal/internal.h"

#define SEGMENT_BYTES (16u << 20)
#define BYTES_MAX     (4ull << 30)
#define SEGMENTS_MIN  4
_Static_assert(SEGMENTS_MIN > RESERVE_SEGMENTS + 2, "one is written, one is next, one is kept, one is data");

void journal_set_state(struct journal *j, enum journal_state state, int rc, const char *why)
{
    bool changed = j->stats.state != state || strcmp(j->stats.why, why) != 0;
    const struct timeval again = {.tv_usec = RETRY_US};
    j->stats.state = state;
    j->refuse_rc = state == JOURNAL_WRITABLE ? 0 : rc;
    snprintf(j->stats.why, sizeof j->stats.why, "%s", why);
    if (state != JOURNAL_WRITABLE)
        event_add(j->retry, &again);
    if (changed && j->cb.on_state)
        j->cb.on_state(j->arg, state, j->stats.why);
}

void journal_damage(struct journal *j, bool was_durable, const char *what)
{
    j->stats.damaged += was_durable;
    if (j->cb.on_damage)
        j->cb.on_damage(j->arg, what);
}

static void on_kick(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    write_step(arg);
}

static void on_forget_timer(evutil_socket_t fd, short events, void *arg)
{
    struct journal *j = arg;
    (void)fd;
    (void)events;
    j->forgets_due = true;
    write_step(j);
}

static void probe(struct journal *j)
{
    struct group *first = TAILQ_FIRST(&j->waiting);
    struct group *g = first && first->probe ? NULL : group_new(j);
    if (!g)
        return;
    g->probe = true;
    TAILQ_INSERT_HEAD(&j->waiting, g, link);
}

// What failed for want of room, memory or a working disk is tried again.
static void on_retry(evutil_socket_t fd, short events, void *arg)
{
    struct journal *j = arg;
    const struct timeval again = {.tv_usec = RETRY_US};
    (void)fd;
    (void)events;
    j->preparing.rc = 0;
    j->cleaning.failed = false;
    if (j->stats.state == JOURNAL_FAILING && !j->writing)
        probe(j);
    if (j->stats.state != JOURNAL_WRITABLE)
        event_add(j->retry, &again);
    write_step(j);
}

static int make_events(struct journal *j, struct err *err)
{
    j->kick = event_new(j->base, -1, 0, on_kick, j);
    j->retry = evtimer_new(j->base, on_retry, j);
    j->forget_timer = evtimer_new(j->base, on_forget_timer, j);
    return j->kick && j->retry && j->forget_timer ? 0 : err_set(err, -ENOMEM, "no memory for events");
}

static int open_folder(struct journal *j, struct err *err)
{
    if (mkdir(j->folder, 0700) < 0 && errno != EEXIST && errno != ENOSPC && errno != EDQUOT)
        return err_errno(err, -errno, "make the folder");
    j->dir_fd = open(j->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return j->dir_fd < 0 ? err_errno(err, -errno, "open the folder") : 0;
}

static void configure(struct journal *j, const struct journal_config *config)
{
    uint64_t bytes = config->segment_bytes ? config->segment_bytes : SEGMENT_BYTES;
    uint64_t max = config->bytes_max ? config->bytes_max : BYTES_MAX;
    bytes = bytes < FORMAT_SEGMENT_MIN ? FORMAT_SEGMENT_MIN : bytes;
    bytes = bytes > FORMAT_SEGMENT_MAX ? FORMAT_SEGMENT_MAX : bytes;
    j->segment_bytes = format_round(bytes, FORMAT_PAGE);
    j->segments_max = max / j->segment_bytes;
    if (j->segments_max < SEGMENTS_MIN)
        j->segments_max = SEGMENTS_MIN;
}

static struct journal *new_journal(struct event_base *base, const struct journal_config *config,
                                   const struct journal_cb *cb, void *arg)
{
    struct journal *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    *j = (struct journal){.base = base, .cb = *cb, .arg = arg, .dir_fd = -1};
    j->ring.event_fd = j->ring.uring.ring_fd = j->cleaning.fd = -1;
    TAILQ_INIT(&j->closed);
    TAILQ_INIT(&j->spares);
    TAILQ_INIT(&j->waiting);
    j->write_task.done = write_done;
    j->preparing.task.done = prepare_done;
    j->cleaning.task.done = clean_read_done;
    j->next_seq = j->next_order = j->next_number = 1;
    configure(j, config);
    j->folder = strdup(config->folder);
    if (prepare_init(j) == 0 && j->folder && table_init(&j->live, 1024) == 0)
        return j;
    prepare_finish(j);
    free(j->folder);
    free(j);
    return NULL;
}

static void free_segments(struct segment_list *list)
{
    struct segment *s;
    while ((s = TAILQ_FIRST(list))) {
        TAILQ_REMOVE(list, s, link);
        segment_close(s);
        free(s);
    }
}

static void free_one(struct segment *s)
{
    if (s)
        segment_close(s);
    free(s);
}

static void free_journal(struct journal *j)
{
    struct table_node *n;
    ring_done(&j->ring);
    while ((n = table_any(&j->live)))
        live_remove(j, table_entry(n, struct live, node));
    table_done(&j->live);
    free_segments(&j->closed);
    free_segments(&j->spares);
    free_one(j->active);
    free_one(j->next);
    group_free(j->reusable);
    struct event *events[] = {j->kick, j->retry, j->forget_timer};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (events[i])
            event_free(events[i]);
    if (j->dir_fd >= 0)
        close(j->dir_fd);
    prepare_finish(j);
    free(j->folder);
    free(j);
}

int journal_open(struct event_base *base, const struct journal_config *config, const struct journal_cb *cb,
                 void *arg, struct journal **ret, struct err *err)
{
    struct journal *j = new_journal(base, config, cb, arg);
    if (!j)
        return err_set(err, -ENOMEM, "no memory for the journal");
    int rc = make_events(j, err);
    if (rc == 0)
        rc = open_folder(j, err);
    if (rc == 0)
        rc = ring_init(&j->ring, base, err);
    if (rc == 0)
        rc = recover(j, err);
    if (rc < 0) {
        rc = err_wrap(err, rc, "journal %s", config->folder);
        free_journal(j);
        return rc;
    }
    write_kick(j); // makes segments ready
    *ret = j;
    return 0;
}

size_t journal_record_max(const struct journal *j)
{
    return j->segment_bytes - FORMAT_FIRST - format_size(sizeof(struct format_open)) -
           format_size(FORGETS_MAX * sizeof(uint64_t)) - format_size(0) - j->segment_bytes / 32;
}

static struct group *group_for(struct journal *j, size_t len)
{
    return j->cleaning.into ? j->cleaning.into : group_gathering(j, len);
}

int journal_append(struct journal *j, uint8_t type, const struct iovec *parts, int n_parts,
                   journal_done_cb *done, void *arg, uint64_t *ret_seq)
{
    size_t len = 0;
    for (int i = 0; i < n_parts; i++)
        len += parts[i].iov_len;
    bool cleaning = j->cleaning.into != NULL;
    if (len > journal_record_max(j))
        return -E2BIG;
    if (j->refuse_rc < 0 && !cleaning)
        return j->refuse_rc;
    if (j->waiting_bytes > PENDING_MAX && !cleaning)
        return -ENOBUFS;
    struct group *g = group_for(j, len ? len : 1);
    const struct item item = {
        .seq = j->next_seq, .len = (uint32_t)len, .type = type, .done = done, .arg = arg};
    struct live *l = g ? live_add(j, item.seq, type, len) : NULL;
    if (!l)
        return -ENOMEM;
    if (group_add(g, &item, parts, n_parts) < 0) {
        live_remove(j, l);
        return -ENOMEM;
    }
    j->next_seq++;
    if (!cleaning)
        j->waiting_bytes += format_size(len);
    if (ret_seq)
        *ret_seq = item.seq;
    if (!j->writing)
        write_kick(j);
    return 0;
}

void journal_forget(struct journal *j, uint64_t seq)
{
    const struct timeval soon = {.tv_usec = FORGET_DELAY_US};
    struct live *l = live_find(j, seq);
    if (l)
        live_remove(j, l);
    struct group *g = group_gathering(j, 0);
    if (!g || group_forget(g, seq) < 0)
        return; // no memory: it comes again after a restart
    if (!evtimer_pending(j->forget_timer, NULL))
        event_add(j->forget_timer, &soon);
}

void journal_get_stats(const struct journal *j, struct journal_stats *ret)
{
    *ret = j->stats;
    ret->segments = j->n_segments;
    ret->bytes = j->n_segments * j->segment_bytes;
    ret->live = j->live.n_nodes;
    ret->live_bytes = j->live_bytes;
}

static bool has_items(const struct journal *j)
{
    const struct group *g;
    TAILQ_FOREACH(g, &j->waiting, link)
    {
        if (g->n_items > 0)
            return true;
    }
    return j->writing && j->writing->n_items > 0;
}

void journal_flush(struct journal *j)
{
    write_step(j);
    while (has_items(j) && j->ring.in_flight > 0)
        ring_wait(&j->ring);
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    j->closing = true;
    clean_stop(j);
    write_step(j);
    while (j->ring.in_flight > 0)
        ring_wait(&j->ring);
    if (j->stats.state == JOURNAL_WRITABLE)
        j->refuse_rc = -EIO; // whoever is told now must not append again
    write_fail_all(j, j->refuse_rc);
    while (!TAILQ_EMPTY(&j->waiting)) {
        struct group *g = TAILQ_FIRST(&j->waiting);
        TAILQ_REMOVE(&j->waiting, g, link);
        group_free(g);
    }
    free_journal(j);
}
