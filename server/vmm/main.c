// envvm: one virtual machine in one process. Executed by envpriv with the control socket as descriptor 3;
// opens nothing by path. What it does, in order, is main().
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/log.h"
#include "config.h"
#include "control.h"
#include "machine.h"
#include "sandbox.h"

#define LAST_WORDS_MS 2000
#define LOG_FILE_MAX  (LOGRING_HEADER + (uint64_t)LOGRING_CAPACITY_MAX)

// Exit statuses: the STATE message says more, if anybody is there to read it.
enum { EXIT_ENDED = 0, EXIT_VM_FAILED = 1, EXIT_NO_CONFIG = 2 };

struct envvm {
    struct config config;
    struct control control;
    struct machine machine;
    enum vmctl_cause cause; // what the step at hand failing would mean
};

static int drop_rights(const struct config *c, struct err *err)
{
    int keep[CONFIG_FDS + 1] = {VMCTL_FD};
    const size_t n = config_fds(c, keep + 1);
    return sandbox_drop(keep, (unsigned)n + 1, c->vm.kind, LOG_FILE_MAX, err);
}

// From a configuration to an ended guest. Every step may fail and say why; the order is that of trust:
// nothing hostile (the program's file) is looked at before the first filter, no guest runs before the second.
static int run(struct envvm *e, struct err *err)
{
    e->cause = VMCTL_CAUSE_INTERNAL;
    int rc = drop_rights(&e->config, err);
    if (rc == 0)
        rc = control_init(&e->control, VMCTL_FD, err);
    if (rc == 0) {
        const struct outcome booting = {.state = VMCTL_BOOTING};
        control_set_state(&e->control, &booting);
        rc = sandbox_enter(SANDBOX_SETUP, e->config.vm.kind, err);
    }
    if (rc == 0)
        rc = machine_init(&e->machine, &e->config, &e->control, &e->cause, err);
    if (rc == 0)
        rc = machine_load(&e->machine, &e->cause, err);
    if (rc < 0)
        return rc;
    config_close_files(&e->config);
    e->cause = VMCTL_CAUSE_INTERNAL;
    rc = sandbox_enter(SANDBOX_RUN, e->config.vm.kind, err);
    return rc < 0 ? rc : machine_run(&e->machine, err);
}

static int report(struct envvm *e, int rc, const struct err *err)
{
    struct outcome *o = &e->machine.outcome;
    if (rc < 0)
        outcome_fail(o, e->cause, "%s", err->text);
    control_set_state(&e->control, o);
    control_finish(&e->control, LAST_WORDS_MS);
    return o->state == VMCTL_EXITED ? EXIT_ENDED : EXIT_VM_FAILED;
}

int main(void)
{
    static struct envvm e;
    struct err err;
    log_init("envvm", LOG_LEVEL_INFO);
    int rc = config_receive(&e.config, VMCTL_FD, &err);
    if (rc < 0) {
        log_error(NULL, "%s", err.text);
        e.control.fd = VMCTL_FD;
        e.cause = VMCTL_CAUSE_CONFIG;
        report(&e, rc, &err);
        return EXIT_NO_CONFIG;
    }
    rc = run(&e, &err);
    const int status = report(&e, rc, &err);
    machine_done(&e.machine);
    config_done(&e.config);
    _exit(status); // a sanitizer's last check could not run behind the filter
}
