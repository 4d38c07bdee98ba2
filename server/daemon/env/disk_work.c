// Owns the removal of disks on the manager's thread, whose queue also makes them: an environment that follows
// one of the same name finds nothing of it. Called by manager.c.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "env/disks.h"
#include "env/internal.h"

struct removal_work {
    struct file_work work; // first: the worker hands it back
    char state[PATH_MAX], tenant[NAME_CAP], name[NAME_CAP], uid[ID_TEXT_CAP];
};

static int run_remove(struct file_work *work)
{
    struct removal_work *w = (struct removal_work *)work;
    disks_remove(&(struct disks_owner){w->state, w->tenant, w->name, w->uid});
    return 0;
}

static void on_removed(struct file_work *work, int rc)
{
    (void)rc;
    free(work);
}

void disk_work_remove(struct env *e)
{
    struct removal_work *w = e->spec.kind == ENV_KIND_LINUX ? calloc(1, sizeof *w) : NULL;
    if (!w)
        return; // for want of memory: the next envd finds them
    w->work.run = run_remove;
    w->work.done = on_removed;
    snprintf(w->state, sizeof w->state, "%s", e->manager->config.state_folder);
    snprintf(w->tenant, sizeof w->tenant, "%s", e->tenant);
    snprintf(w->name, sizeof w->name, "%s", e->name);
    snprintf(w->uid, sizeof w->uid, "%s", e->uid);
    file_worker_submit(e->manager->worker, &w->work);
}

struct find_uid {
    const char *uid;
    bool found;
};

static void match_uid(struct env *e, void *arg)
{
    struct find_uid *f = arg;
    f->found = f->found || strcmp(e->uid, f->uid) == 0;
}

static bool is_ours(void *arg, const char *tenant, const char *name, const char *uid)
{
    struct manager *m = arg;
    struct find_uid f = {.uid = uid};
    if (name)
        return env_find(m, tenant, name) != NULL;
    env_each(m, match_uid, &f);
    return f.found;
}

void disk_work_sweep(struct manager *m)
{
    disks_sweep(m->config.state_folder, is_ours, m);
}
