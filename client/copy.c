// Owns the steps that both ways of copying share, and the progress line. Called by copy_in.c, copy_out.c and
// the verb cp.
#include "copy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"
#include "harmless.h"

#define PROGRESS_NS 200000000u

int copy_begin(struct copy *c, const char *op, const char *guest_path, json_t *body, struct channel **ret)
{
    json_t *path = json_string(guest_path);
    if (!body)
        body = json_object();
    if (!path) {
        json_decref(body);
        return cli_fail(c->cli, CLI_ERROR, "%s:%s: the name is not UTF-8, which this interface asks for",
                        c->address, guest_path);
    }
    json_object_set_new(body, "op", json_string(op));
    json_object_set_new(body, "path", path);
    return channel_open(c->cli, c->path, body, ret);
}

int copy_step(struct copy *c, const char *op, const char *guest_path, json_t *body)
{
    struct channel *channel;
    struct session_frame f;
    int rc = copy_begin(c, op, guest_path, body, &channel);
    if (rc != 0)
        return rc;
    do
        rc = channel_expect(c->cli, channel, guest_path, &f);
    while (rc == 0 && f.type != SESSION_END);
    channel_free(channel);
    return rc;
}

int copy_stat(struct copy *c, const char *guest_path, enum session_file_type *ret_type)
{
    struct channel *channel;
    struct session_frame f;
    int rc = copy_begin(c, "stat", guest_path, NULL, &channel);
    if (rc != 0)
        return rc;
    rc = channel_expect(c->cli, channel, guest_path, &f);
    if (rc == 0 && f.type != SESSION_STAT)
        rc = cli_fail(c->cli, CLI_ERROR, "%s: the guest's agent did not say what it is", guest_path);
    if (rc == 0)
        *ret_type = f.stat.type;
    channel_free(channel);
    return rc;
}

void copy_progress(struct copy *c, const char *name, uint64_t done, uint64_t total)
{
    uint64_t now = io_monotonic_ns();
    char text[64];
    if (now - c->progress.shown_ns < PROGRESS_NS || !isatty(STDERR_FILENO))
        return;
    c->progress.shown_ns = now;
    c->progress.shown = true;
    snprintf(text, sizeof text, "%s", name); // it may be a guest's
    harmless_text(text);
    fprintf(stderr, "\r\033[K%s  %.1f MiB", text, (double)done / (1 << 20));
    if (total > 0)
        fprintf(stderr, " of %.1f  %3.0f %%", (double)total / (1 << 20),
                100.0 * (double)done / (double)total);
}

void copy_progress_done(struct copy *c)
{
    if (c->progress.shown)
        fprintf(stderr, "\r\033[K");
    c->progress.shown = false;
}

char *copy_join(const char *parent, const char *name)
{
    char *path;
    size_t len = strlen(parent);
    return asprintf(&path, "%s%s%s", parent, len > 0 && parent[len - 1] == '/' ? "" : "/", name) < 0 ? NULL
                                                                                                     : path;
}
