// Owns the removal of everything that belongs to the instance: at the start what a killed predecessor left,
// at the end all. By exact names only. Called by main.c.
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "net_filter.h"
#include "priv.h"

#define END_PAUSE_MS 2
#define END_TRIES    5000 // with the pause, ten seconds

int cleanup_leftovers(struct priv *p, struct err *err)
{
    // Processes first (they die with their envpriv, but may still be at it), for they hold the taps.
    int rc = cgroups_clean(&p->cgroups, false, err);
    if (rc == 0)
        rc = net_links_remove_ours(&p->rt, &p->instance, err);
    return rc < 0 ? err_wrap(err, rc, "clean up after an earlier envpriv") : 0;
}

// Every VM is a child; all end at once, so their taps' removal overlaps.
static int end_all_vms(struct priv *p, struct err *err)
{
    for (unsigned i = 0; i < p->vms.n_high; i++)
        if (p->vms.slots[i].used && !p->vms.slots[i].exited)
            kill(p->vms.slots[i].pid, SIGKILL);
    for (int i = 0; i < END_TRIES; i++) {
        pid_t pid;
        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
        if (pid < 0 && errno == ECHILD)
            return 0;
        nanosleep(&(struct timespec){.tv_nsec = END_PAUSE_MS * 1000000L}, NULL);
    }
    return err_set(err, -EBUSY, "an envvm does not end");
}

int cleanup_everything(struct priv *p, struct err *err)
{
    int first = end_all_vms(p, err);
    int rc = net_links_remove_ours(&p->rt, &p->instance, first ? NULL : err);
    first = first ? first : rc;
    rc = net_filter_remove(&p->nf, &p->instance, first ? NULL : err);
    first = first ? first : rc;
    rc = cgroups_clean(&p->cgroups, true, first ? NULL : err);
    return first ? first : rc;
}
