// Owns what each request of envd does: one small function per type, and the table. Called by server.c.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/checked.h"
#include "common/log.h"
#include "server.h"

static struct wire_view view_of(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

static int handle_hello(struct server *s, const struct request *r, struct err *err)
{
    if (r->m->version != PRIVCTL_VERSION)
        return err_set(err, -EPROTONOSUPPORT,
                       "envd speaks version %u, envpriv %u: install the same release of both", r->m->version,
                       PRIVCTL_VERSION);
    struct priv *p = s->priv;
    if (p->kvm.fd < 0)
        kvm_open(&p->kvm, KVM_PATH);
    s->greeted = true;
    const struct privctl_message answer = {
        .type = PRIVCTL_HELLO_OK,
        .tag = r->m->tag,
        .hello_ok = {PRIVCTL_VERSION, view_of(p->instance.text), view_of(kvm_kind_name(p->kvm.kind)),
                     view_of(p->kvm.detail), view_of(cgroup_version_name(p->cgroups.version))},
    };
    int rc = server_send(s, &answer, -1);
    return rc < 0 ? err_errno(err, rc, "answer") : 1;
}

static int handle_net_up(struct server *s, const struct request *r, struct err *err)
{
    return net_up(s->priv, r->m->net.net, (struct subnet){r->m->net.gateway, r->m->net.prefix}, err);
}

static int handle_net_down(struct server *s, const struct request *r, struct err *err)
{
    return net_down(s->priv, r->m->net.net, err);
}

static int handle_spawn(struct server *s, const struct request *r, struct err *err)
{
    struct vm *vm;
    int rc = spawn_vm(s->priv, &r->m->spawn, r->fds, r->n_fds, &vm, err);
    if (rc < 0)
        return rc;
    char about[2 * NAME_CAP];
    snprintf(about, sizeof about, "%s/%s", vm->tenant, vm->name);
    log_info(about, "envvm started: pid %d, uid %u", vm->pid, vm->uid);
    const struct privctl_message answer = {
        .type = PRIVCTL_SPAWN_OK,
        .tag = r->m->tag,
        .spawn_ok = {vm->id, (uint32_t)vm->pid, vm->uid},
    };
    rc = server_send(s, &answer, vm->control);
    return rc < 0 ? err_errno(err, rc, "answer") : 1;
}

static struct vm *find_vm(struct server *s, const struct request *r, struct err *err)
{
    struct vm *vm = vms_find(&s->priv->vms, &r->m->vm);
    if (!vm)
        err_set(err, -ENOENT, "there is no VM with this id");
    return vm;
}

static int handle_kill(struct server *s, const struct request *r, struct err *err)
{
    struct vm *vm = find_vm(s, r, err);
    if (!vm)
        return -ENOENT;
    // Not reaped yet, so the pid is still this VM's. One that ended already is as good as killed.
    if (!vm->exited && kill(vm->pid, SIGKILL) < 0)
        return err_errno(err, -errno, "end process %d", vm->pid);
    return 0;
}

static int handle_forget(struct server *s, const struct request *r, struct err *err)
{
    struct vm *vm = find_vm(s, r, err);
    if (!vm)
        return -ENOENT;
    if (!vm->exited)
        return err_set(err, -EBUSY, "the VM has not exited: wait for EXITED");
    vms_release(&s->priv->vms, vm);
    return 0;
}

// Answered entry by entry, as the client takes them (server.c).
static int handle_list(struct server *s, const struct request *r, struct err *err)
{
    (void)err;
    s->listing = true;
    s->list_tag = r->m->tag;
    s->list_next = 0;
    return 1;
}

request_handler request_handler_of(enum privctl_type type)
{
    static const request_handler handlers[PRIVCTL_TYPE_COUNT] = {
        [PRIVCTL_HELLO] = handle_hello,       [PRIVCTL_NET_UP] = handle_net_up,
        [PRIVCTL_NET_DOWN] = handle_net_down, [PRIVCTL_SPAWN] = handle_spawn,
        [PRIVCTL_KILL] = handle_kill,         [PRIVCTL_FORGET] = handle_forget,
        [PRIVCTL_LIST] = handle_list,
    };
    return (unsigned)type < ARRAY_LEN(handlers) ? handlers[type] : NULL;
}
