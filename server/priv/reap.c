// Owns the end of a VM: the process is reaped, its kernel objects go, its record stays until FORGET. Called
// by server.c on SIGCHLD.
#include <stdio.h>
#include <sys/wait.h>

#include "common/log.h"
#include "priv.h"

static void log_end(const struct vm *vm)
{
    char about[2 * NAME_CAP];
    snprintf(about, sizeof about, "%s/%s", vm->tenant, vm->name);
    if (WIFSIGNALED(vm->wait_status))
        log_warn(about, "envvm (pid %d) was ended by signal %d", vm->pid, WTERMSIG(vm->wait_status));
    else
        log_info(about, "envvm (pid %d) ended with status %d", vm->pid, WEXITSTATUS(vm->wait_status));
}

void reap_ended(struct priv *p)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        struct vm *vm = vms_find_running(&p->vms, pid);
        if (!vm)
            continue;
        vms_set_exited(&p->vms, vm, status);
        log_end(vm);
        struct err err;
        if (spawn_undo(p, vm, &err) < 0)
            log_error(NULL, "after the end of VM %s/%s: %s", vm->tenant, vm->name, err.text);
    }
}
