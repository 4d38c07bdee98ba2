// Owns the opening of images whose bytes are checked against their digests, on a thread. Called when an
// environment is started.
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "env/images_internal.h"
#include "env/measure.h"

struct images_opening {
    struct file_work work; // first: the worker hands it back
    struct images_opening *next;
    struct images *images;
    struct event *now; // calls back when there is nothing to check
    size_t n;
    struct images_item {
        char digest[DOC_DIGEST_CAP];
        bool known;
        struct stat seen;
    } items[IMAGES_OPEN_MAX];
    struct images_opened result;
    images_opened_cb *cb; // NULL: cancelled
    void *arg;
};

static void opening_free(struct images_opening *o)
{
    for (struct images_opening **p = &o->images->openings; *p; p = &(*p)->next) {
        if (*p != o)
            continue;
        *p = o->next;
        break;
    }
    for (size_t i = 0; i < IMAGES_OPEN_MAX; i++)
        if (o->result.fds[i] >= 0)
            close(o->result.fds[i]);
    if (o->now)
        event_free(o->now);
    free(o);
}

static void finish(struct images_opening *o)
{
    if (o->cb)
        o->cb(o->arg, &o->result);
    opening_free(o);
}

static void fail(struct images_opening *o, size_t i, int rc)
{
    o->result.rc = rc;
    o->result.digest = o->items[i].digest;
}

// On the thread: reads all of the file, unless it is known.
static int check(struct images_item *item, int fd)
{
    char digest[DOC_DIGEST_CAP];
    struct stat after;
    if (item->known)
        return 0;
    int rc = measure_file(fd, digest);
    if (rc < 0)
        return rc;
    // Written to meanwhile: nobody may do that, so it is as good as wrong.
    if (fstat(fd, &after) < 0 || after.st_ctim.tv_sec != item->seen.st_ctim.tv_sec ||
        after.st_ctim.tv_nsec != item->seen.st_ctim.tv_nsec || strcmp(digest, item->digest) != 0)
        return -EBADMSG;
    return 0;
}

static int run_checks(struct file_work *work)
{
    struct images_opening *o = (struct images_opening *)work;
    for (size_t i = 0; i < o->n && o->result.rc == 0; i++) {
        int rc = check(&o->items[i], o->result.fds[i]);
        if (rc < 0)
            fail(o, i, rc);
    }
    return 0;
}

// Out of the way, so that it can be uploaded again; kept, for somebody may want to know what happened to it.
static void set_aside(struct images *images, const char *digest)
{
    char aside[DOC_DIGEST_CAP + sizeof CORRUPT_PREFIX];
    images_forget(images, digest);
    snprintf(aside, sizeof aside, CORRUPT_PREFIX "%s", digest + IMAGES_HEX_OFFSET);
    renameat(images->dir_fd, digest + IMAGES_HEX_OFFSET, images->dir_fd, aside);
}

static void on_checked(struct file_work *work, int rc)
{
    struct images_opening *o = (struct images_opening *)work;
    (void)rc;
    for (size_t i = 0; i < o->n && o->result.rc == 0; i++)
        images_know(o->images, o->items[i].digest, &o->items[i].seen);
    if (o->result.rc == -EBADMSG)
        set_aside(o->images, o->result.digest);
    finish(o);
}

static void on_now(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    finish(arg);
}

// True when each of them is open and known, or one cannot be opened.
static bool open_all(struct images_opening *o, const char *const *digests)
{
    bool known = true;
    for (size_t i = 0; i < o->n; i++) {
        struct images_item *item = &o->items[i];
        snprintf(item->digest, sizeof item->digest, "%s", digests[i]);
        int fd = images_open(o->images, item->digest);
        int rc = fd < 0 ? fd : fstat(fd, &item->seen) < 0 ? -errno : 0;
        o->result.fds[i] = fd < 0 ? -1 : fd;
        if (rc < 0) {
            fail(o, i, rc);
            return true;
        }
        item->known = images_is_known(o->images, item->digest, &item->seen);
        known = known && item->known;
    }
    return known;
}

struct images_opening *images_open_verified(struct images *images, const char *const *digests, size_t n,
                                            images_opened_cb *cb, void *arg)
{
    struct images_opening *o = n <= IMAGES_OPEN_MAX ? calloc(1, sizeof *o) : NULL;
    if (!o)
        return NULL;
    o->images = images;
    o->n = n;
    o->cb = cb;
    o->arg = arg;
    for (size_t i = 0; i < IMAGES_OPEN_MAX; i++)
        o->result.fds[i] = -1;
    o->now = event_new(images->base, -1, 0, on_now, o);
    if (!o->now) {
        free(o);
        return NULL;
    }
    o->next = images->openings;
    images->openings = o;
    o->work.run = run_checks;
    o->work.done = on_checked;
    if (open_all(o, digests)) {
        o->work.run = NULL; // the thread does not have it
        event_active(o->now, EV_TIMEOUT, 0);
    } else {
        file_worker_submit(images->reader, &o->work);
    }
    return o;
}

void images_opening_cancel(struct images_opening *o)
{
    if (!o)
        return;
    o->cb = NULL;
    if (!o->work.run) {
        opening_free(o);
        return;
    }
    // The thread gives it back later; until then nobody else knows it.
    for (struct images_opening **p = &o->images->openings; *p; p = &(*p)->next) {
        if (*p != o)
            continue;
        *p = o->next;
        break;
    }
}
