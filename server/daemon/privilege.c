// Owns how envd gives up root. Called by main.
#include "privilege.h"

#include <errno.h>
#include <grp.h>
#include <sys/prctl.h>
#include <unistd.h>

static int become(const struct config *c, struct err *err)
{
    // In this order: groups can only be changed while the user is still root. Changing all user ids away from
    // 0 clears every capability set.
    if (setgroups(0, NULL) < 0)
        return err_errno(err, -errno, "drop root's groups");
    if (setresgid(c->gid, c->gid, c->gid) < 0)
        return err_errno(err, -errno, "become group %u", (unsigned)c->gid);
    if (setresuid(c->uid, c->uid, c->uid) < 0)
        return err_errno(err, -errno, "become user %u", (unsigned)c->uid);
    if (setresuid(0, 0, 0) == 0)
        return err_set(err, -EPERM, "root could be had back after it was given up");
    return 0;
}

int privilege_drop(const struct config *c, struct err *err)
{
    int rc = 0;
    if (geteuid() == 0 || getuid() == 0) {
        if (!c->has_user)
            return err_set(err, -EPERM, "envd does not run as root: name the user to become with --user");
        rc = become(c, err);
    } else if (c->has_user && c->uid != getuid()) {
        return err_set(err, -EPERM, "only root can become user %u: start envd as root or as that user",
                       (unsigned)c->uid);
    }
    // Nothing that is executed from here could gain rights; nothing is.
    if (rc == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        rc = err_errno(err, -errno, "set no_new_privs");
    return rc;
}
