// Owns the conversation with envpriv: what runs, what was asked and answered, adoption after a restart.
// Called by priv_link.c through helper_callbacks and by manager.c; what that means for one environment is
// run.c's.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "env/internal.h"

static void bit_put(uint8_t *bits, uint32_t i, bool value)
{
    uint8_t bit = (uint8_t)(1u << (i % 8));
    bits[i / 8] = (uint8_t)(value ? bits[i / 8] | bit : bits[i / 8] & ~bit);
}

static void request_net_down(struct manager *m, uint32_t net)
{
    // While the helper is away the mark in net_gone stays, and it is asked when it is back.
    struct privctl_message down = {.type = PRIVCTL_NET_DOWN, .net = {.net = (uint16_t)net}};
    priv_link_request(m->priv, &down, NULL, 0);
}

void helper_net_gone(struct manager *m, uint32_t net, bool gone)
{
    bit_put(m->net_gone, net, gone);
    if (gone)
        request_net_down(m, net);
}

static void on_up(void *arg, const struct priv_facts *facts)
{
    struct manager *m = arg;
    m->facts = *facts;
    memset(m->net_up, 0, sizeof m->net_up);
    m->n_strays = 0;
    log_info(NULL, "connected to envpriv (instance %s, KVM %s, cgroup %s)", facts->instance, facts->kvm,
             facts->cgroup);
}

static void clear_listed(struct env *e, void *arg)
{
    (void)arg;
    e->listed = false;
}

static void on_down(void *arg, const char *reason)
{
    struct manager *m = arg;
    snprintf(m->trouble, sizeof m->trouble, "%s", reason);
    log_error(NULL, "the privileged helper is unreachable: %s. Environments go on running; trying again",
              reason);
    env_each(m, clear_listed, NULL);
}

static void remember_stray(struct manager *m, const struct privctl_message *entry, bool known)
{
    struct stray *grown = realloc(m->strays, (m->n_strays + 1) * sizeof *grown);
    if (!grown)
        return; // it is found again the next time
    m->strays = grown;
    m->strays[m->n_strays++] = (struct stray){entry->entry.vm, entry->entry.exited, known};
}

static void adopt(struct env *e, const struct privctl_message *entry, int fd)
{
    e->listed = true;
    e->pid = entry->entry.pid;
    if (e->link) {
        if (fd >= 0)
            close(fd); // only the link to envpriv was new
    } else {
        e->control_fd = fd;
    }
    if (!entry->entry.exited && e->link)
        return;
    if (entry->entry.exited) {
        if (!e->link)
            run_attach_dead(e);
        run_exited(e, entry->entry.wait_status);
        remember_stray(e->manager, entry, true); // requests are not yet welcome
    } else {
        env_dispatch(e, ENV_EVENT_ADOPTED);
    }
}

static void on_entry(void *arg, const struct privctl_message *entry, int fd)
{
    struct manager *m = arg;
    struct env *e = env_find(m, entry->entry.tenant, entry->entry.name);
    if (e && id_equals(&e->vm, &entry->entry.vm) && env_state_has_vm(e->state)) {
        adopt(e, entry, fd);
        return;
    }
    remember_stray(m, entry, false);
    if (fd >= 0)
        close(fd);
}

static void note_missing(struct env *e, void *arg)
{
    (void)arg;
    if (!env_state_has_vm(e->state) || e->listed)
        return;
    reason_set(&e->reason, "host-restarted",
               "the host knows nothing of its virtual machine any more: the host or envpriv was restarted");
    env_dispatch(e, ENV_EVENT_MISSING);
}

static void end_stray(struct manager *m, const struct stray *stray)
{
    char id[ID_TEXT_CAP];
    id_format(&stray->vm, id);
    if (!stray->known)
        log_warn(NULL, "virtual machine %s belongs to no environment: ended", id);
    enum privctl_type type = stray->exited ? PRIVCTL_FORGET : PRIVCTL_KILL;
    priv_link_request(m->priv, &(struct privctl_message){.type = type, .vm = stray->vm}, NULL, 0);
}

static void on_listed(void *arg)
{
    struct manager *m = arg;
    m->trouble[0] = '\0';
    for (size_t i = 0; i < m->n_strays; i++)
        end_stray(m, &m->strays[i]);
    m->n_strays = 0;
    for (uint32_t net = 0; net < PRIVCTL_NET_MAX; net++)
        if (m->net_gone[net / 8] & (1u << (net % 8)))
            request_net_down(m, net);
    env_each(m, note_missing, NULL);
    reconcile_all(m);
}

static void on_exited(void *arg, const struct id *vm, int32_t wait_status)
{
    struct manager *m = arg;
    struct env *e = env_find_vm(m, vm);
    if (e && env_state_has_vm(e->state))
        run_exited(e, wait_status);
    else
        priv_link_request(m->priv, &(struct privctl_message){.type = PRIVCTL_FORGET, .vm = *vm}, NULL, 0);
}

struct network_failure {
    uint32_t net;
    const struct privctl_message *answer;
};

static void note_network_failure(struct env *e, void *arg)
{
    const struct network_failure *f = arg;
    if (e->net == f->net && e->state == ENV_STARTING)
        reason_set(&e->outcome_reason, "network-failed", "its tenant's network could not be made: %.*s",
                   (int)f->answer->fail.text.len, (const char *)f->answer->fail.text.data);
}

static void answer_network(struct manager *m, const struct privctl_message *request,
                           const struct privctl_message *answer)
{
    uint16_t net = request->net.net;
    if (answer->type == PRIVCTL_OK) {
        bit_put(m->net_up, net, request->type == PRIVCTL_NET_UP);
        bit_put(m->net_gone, net, false);
    } else if (request->type == PRIVCTL_NET_UP) {
        struct network_failure f = {net, answer};
        env_each(m, note_network_failure, &f);
    } else {
        log_warn(NULL, "the network %u of a deleted tenant stays for now: %.*s", net,
                 (int)answer->fail.text.len, (const char *)answer->fail.text.data);
    }
}

static void answer_spawn(struct manager *m, const struct privctl_message *request,
                         const struct privctl_message *answer, int fd)
{
    struct env *e = env_find_vm(m, &request->spawn.vm);
    if (!e || !(e->state == ENV_STARTING || e->state == ENV_STOPPING)) {
        if (fd >= 0)
            close(fd);
        return; // its environment gave up on it; the next list shows it as a stray
    }
    if (answer->type == PRIVCTL_SPAWN_OK) {
        e->pid = answer->spawn_ok.pid;
        e->control_fd = fd;
        e->listed = true;
        env_dispatch(e, ENV_EVENT_SPAWNED);
        return;
    }
    if (e->outcome_reason.code[0] == '\0')
        reason_set(&e->outcome_reason, "spawn-refused", "%.*s", (int)answer->fail.text.len,
                   (const char *)answer->fail.text.data);
    run_refused(e);
}

static void on_answer(void *arg, const struct privctl_message *request, const struct privctl_message *answer,
                      int fd)
{
    struct manager *m = arg;
    if (!answer)
        return; // the list that follows a new connection tells what became of it
    if (request->type == PRIVCTL_SPAWN)
        answer_spawn(m, request, answer, fd);
    else if (request->type == PRIVCTL_NET_UP || request->type == PRIVCTL_NET_DOWN)
        answer_network(m, request, answer);
    else if (answer->type == PRIVCTL_FAIL)
        log_debug(NULL, "envpriv: %s: %.*s", privctl_type_name(request->type), (int)answer->fail.text.len,
                  (const char *)answer->fail.text.data);
}

const struct priv_link_cb helper_callbacks = {
    .on_up = on_up,
    .on_entry = on_entry,
    .on_listed = on_listed,
    .on_exited = on_exited,
    .on_answer = on_answer,
    .on_down = on_down,
};
