// What operators do with a mailbox: look at it, replay dead letters, throw messages away.
#include <errno.h>

#include "route/router_internal.h"

int router_mailbox_stats(const struct router *r, const char *tenant, const char *name,
                         struct mailbox_stats *ret)
{
    const struct environment *e = directory_find(&r->directory, tenant, name);
    if (e)
        e->mailbox->ops->get_stats(e->mailbox, ret);
    return e ? 0 : -ENOENT;
}

int router_mailbox_list(const struct router *r, const char *tenant, const char *name, bool dead, size_t max,
                        mailbox_list_cb *cb, void *arg)
{
    const struct environment *e = directory_find(&r->directory, tenant, name);
    if (!e)
        return -ENOENT;
    e->mailbox->ops->list(e->mailbox, dead, max, cb, arg);
    return 0;
}

int router_mailbox_replay(struct router *r, const char *tenant, const char *name, const struct id *id,
                          size_t *ret_n)
{
    struct environment *e = directory_find(&r->directory, tenant, name);
    if (!e)
        return -ENOENT;
    *ret_n = e->mailbox->ops->replay(e->mailbox, id);
    if (*ret_n > 0 && e->endpoint)
        e->endpoint->cb->on_mail(e->endpoint->arg);
    return 0;
}

int router_mailbox_purge(struct router *r, const char *tenant, const char *name, bool dead,
                         const struct id *id, size_t *ret_n)
{
    struct environment *e = directory_find(&r->directory, tenant, name);
    if (!e)
        return -ENOENT;
    *ret_n = e->mailbox->ops->purge(e->mailbox, dead, id);
    return 0;
}
