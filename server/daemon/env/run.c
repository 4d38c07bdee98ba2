// Owns one run of an environment: what the life cycle's actions do with envpriv, envvm and the agent, and
// what comes back from the latter two. Called through env_dispatch() and by manager.c.
#include "env/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "common/log.h"
#include "env/logfile.h"
#include "env/measure.h"
#include "env/spawn.h"
#include "env/stats.h"

#define QUIT_MS       2000 // for envvm to end after QUIT
#define KILL_AGAIN_MS 5000
#define LASTING_NS    10000000000ull // a run this long ends a row of short ones

// --- starting ---

void run_refused(struct env *e)
{
    e->run_started_ns = io_monotonic_ns(); // it never ran: a short run, however long the refusal took
    e->reason = e->outcome_reason;
    env_dispatch(e, ENV_EVENT_REFUSED);
}

// Its mail was promised to a broker's disks: no other place is taken for it silently.
static int expect_broker(const struct env *e, struct reason *ret)
{
    if (e->spec.mailbox != ENV_MAILBOX_QUEUE || router_has_remote(e->manager->deps.router))
        return 0;
    reason_set(ret, "no-broker",
               "the mailbox of %s/%s is of class queue, and envd was started without --broker", e->tenant,
               e->name);
    return -ENOTCONN;
}

void run_spawn(struct env *e)
{
    e->vm = doc_new_id();
    reason_clear(&e->reason);
    e->outcome = OUTCOME_NONE;
    reason_clear(&e->outcome_reason);
    e->stop_step = STOP_NONE;
    e->overdue = false;
    e->stream_tokens_ns = 0;
    e->has_exit_status = false;
    e->software[0] = '\0';
    e->pid = 0;
    e->next_start_ms = 0;
    e->generation_started = e->generation;
    e->started_ms = io_realtime_ms();
    e->run_started_ns = io_monotonic_ns();
    e->stands_still = false;
    e->asked_still = ASKED_NOTHING;
    e->agent_heard_ns = 0;
    int rc = expect_broker(e, &e->outcome_reason);
    if (rc == 0)
        rc = e->spec.kind == ENV_KIND_LINUX ? start_linux(e, &e->outcome_reason)
                                            : spawn_request(e, &e->outcome_reason);
    if (rc < 0)
        run_refused(e);
}

// --- what envvm and the agent say ---

static void break_off(struct env *e, const char *code, const char *text)
{
    if (e->outcome == OUTCOME_NONE) {
        reason_set(&e->outcome_reason, code, "%s", text);
        e->outcome = OUTCOME_FAILED;
    }
    if (e->state != ENV_STOPPING)
        env_dispatch(e, ENV_EVENT_GUEST_ENDED); // its end is all that is left to wait for
    run_kill(e);
}

// Envvm is to be gone soon: it is waited for, but not for ever.
static void guest_ended(struct env *e)
{
    env_dispatch(e, ENV_EVENT_GUEST_ENDED);
    env_timer_in(e, QUIT_MS);
}

// Words of envvm that are said otherwise of environments.
static const char *reason_of(enum vmctl_cause cause)
{
    switch (cause) {
    case VMCTL_CAUSE_PANIC:
        return "kernel-panic";
    case VMCTL_CAUSE_HANG:
        return "guest-hung";
    case VMCTL_CAUSE_POWEROFF:
        return "powered-off";
    case VMCTL_CAUSE_REBOOT:
        return "rebooted";
    default:
        return vmctl_cause_name(cause);
    }
}

static void stands_still(struct env *e, bool still)
{
    e->stands_still = still;
    if (e->asked_still == (still ? ASKED_PAUSE : ASKED_RESUME))
        e->asked_still = ASKED_NOTHING;
    if (still != (e->state == ENV_PAUSED))
        env_dispatch(e, still ? ENV_EVENT_PAUSED : ENV_EVENT_RESUMED);
}

static void on_vm_state(void *arg, enum vmctl_state state, enum vmctl_cause cause, int32_t code,
                        const char *reason)
{
    struct env *e = arg;
    if (e->outcome != OUTCOME_NONE)
        return; // the first word about its end counts
    if (state == VMCTL_RUNNING || state == VMCTL_PAUSED)
        stands_still(e, state == VMCTL_PAUSED);
    if (state != VMCTL_EXITED && state != VMCTL_FAILED)
        return;
    if (state == VMCTL_EXITED) {
        e->outcome = OUTCOME_EXITED;
        e->outcome_code = code;
        e->has_exit_status = e->stop_step < STOP_ASKED_MONITOR && e->spec.kind == ENV_KIND_CELL;
        if (e->stop_step == STOP_NONE && (cause == VMCTL_CAUSE_POWEROFF || cause == VMCTL_CAUSE_REBOOT))
            reason_set(&e->outcome_reason, reason_of(cause), "%s", reason);
    } else {
        e->outcome = OUTCOME_FAILED;
        reason_set(&e->outcome_reason, reason_of(cause), "%s", reason);
    }
    guest_ended(e);
}

static void on_configured(void *arg, int rc, const char *detail)
{
    const struct env *e = arg;
    if (rc < 0 && rc != -ENOTCONN)
        log_warn(e->about, "the agent could not set up its network and host name: %s",
                 detail[0] ? detail : strerror(-rc));
}

static void configure(struct env *e)
{
    struct session_network network = {
        .ipv4 = e->ipv4, .gateway = ipam_gateway(&e->manager->config.pool, e->net), .prefix = IPAM_PREFIX};
    ipam_mac(e->ipv4, network.mac);
    int rc = session_configure(e->session, &network, on_configured, e);
    if (rc < 0 && rc != -EOPNOTSUPP)
        log_warn(e->about, "cannot tell the agent its network and host name: %s", strerror(-rc));
}

static void on_session_ready(void *arg, const char *software, uint32_t capabilities)
{
    (void)capabilities;
    struct env *e = arg;
    configure(e);
    snprintf(e->software, sizeof e->software, "%s", software);
    e->agent_heard_ns = io_monotonic_ns();
    env_dispatch(e, ENV_EVENT_HELLO);
}

static void on_session_closed(void *arg, const char *reason)
{
    struct env *e = arg;
    e->session = NULL;
    // The end of the connection may be the end of the machine: then its last words have arrived already.
    if (e->link)
        vm_link_drain(e->link);
    if (e->state == ENV_READY) {
        log_info(e->about, "the agent's connection ended: %s", reason);
        env_dispatch(e, ENV_EVENT_AGENT_GONE);
    }
}

static const struct session_cb session_callbacks = {on_session_ready, on_session_closed};

void run_agent_connected(struct env *e, int fd_in, const void *untrusted, size_t len)
{
    _cleanup_close_ int fd = fd_in; // closing it resets the guest's connection
    struct err err;
    if (e->session) {
        session_lost(e->session);
        e->session = NULL;
        if (e->state == ENV_READY)
            env_dispatch(e, ENV_EVENT_AGENT_GONE);
    }
    int rc = session_new(e->manager->deps.router, e->manager->deps.base, e->tenant, e->name, fd, NULL,
                         &session_callbacks, e, &e->session, &err);
    if (rc < 0) {
        log_warn(e->about, "cannot talk to the agent: %s", err.text);
        return;
    }
    take_fd(&fd);
    if (session_begin_with(e->session, untrusted, len) < 0) {
        session_close(e->session);
        e->session = NULL;
        log_warn(e->about, "cannot talk to the agent: no memory");
    }
}

static void on_vm_stream(void *arg, uint32_t guest_port, uint32_t host_port, int fd)
{
    (void)guest_port;
    if (host_port == AGENT_VSOCK_PORT)
        streams_arrived(arg, fd);
    else
        close(fd);
}

static void on_vm_console(void *arg, int fd)
{
    streams_console_came(arg, fd);
}

static void on_vm_log(void *arg, uint64_t total)
{
    (void)total; // the file's header says it too
    struct env *e = arg;
    if (e->manager->on_log)
        e->manager->on_log(e->manager->on_log_arg, e->tenant, e->name);
}

static void on_vm_end(void *arg, const char *reason)
{
    struct env *e = arg;
    if (reason)
        break_off(e, "monitor-protocol", reason);
    else if (e->state != ENV_STOPPING)
        guest_ended(e);
}

static void on_vm_stats(void *arg, const struct vmctl_stats *stats)
{
    stats_vm_answered(arg, stats);
}

static const struct vm_link_cb vm_callbacks = {on_vm_state,   on_vm_stream, on_vm_log,
                                               on_vm_console, on_vm_stats,  on_vm_end};

static uint32_t boot_timeout_ms(const struct env *e)
{
    const struct manager_config *config = &e->manager->config;
    return e->spec.kind == ENV_KIND_LINUX ? config->linux_boot_timeout_ms : config->boot_timeout_ms;
}

void run_attach(struct env *e)
{
    if (e->control_fd >= 0 && !e->link)
        e->link = vm_link_new(e->manager->deps.base, e->control_fd, &vm_callbacks, e);
    if (!e->link) {
        break_off(e, "control-lost",
                  "the control connection of its virtual machine is gone; the machine was ended");
        return;
    }
    e->control_fd = -1;
    // Only for the first hello: a guest that lost its agent goes on running. And not over again after an
    // adoption.
    if (e->started_ms != 0 && e->software[0] == '\0' && e->state == ENV_BOOTING)
        env_timer_in(e, boot_timeout_ms(e));
    if (e->software[0] != '\0')
        e->agent_heard_ns = io_monotonic_ns(); // it has its time to connect anew
    vm_link_query(e->link);                    // what happened while nobody listened
}

void run_attach_dead(struct env *e)
{
    if (e->control_fd < 0)
        return;
    e->link = vm_link_new(e->manager->deps.base, e->control_fd, &vm_callbacks, e);
    if (e->link)
        e->control_fd = -1;
}

// --- ending ---

static void ask_monitor(struct env *e)
{
    if (e->link && vm_link_quit(e->link) == 0) {
        e->stop_step = STOP_ASKED_MONITOR;
        env_timer_in(e, QUIT_MS);
    } else {
        run_kill(e);
    }
}

void run_shutdown(struct env *e)
{
    // Only once: a guest that says hello again while it is to end gains no time by it.
    if (e->stop_step != STOP_NONE)
        return;
    if (e->session)
        session_excuse(e->session);
    if (e->stands_still && e->link)
        vm_link_resume(e->link); // so that the guest can finish
    bool asked = e->grace_ms > 0 && e->session &&
                 session_shutdown(e->session, e->grace_ms, "stopped by an operator") == 0;
    if (asked) {
        e->stop_step = STOP_ASKED_AGENT;
        env_timer_in(e, e->grace_ms);
    } else {
        ask_monitor(e);
    }
}

void run_escalate(struct env *e)
{
    if (e->stop_step == STOP_NONE && e->outcome == OUTCOME_NONE) {
        break_off(e, "control-lost",
                  "its virtual machine's monitor closed its control connection and did not end");
        return;
    }
    // A guest that has ended is not late, its monitor is.
    e->overdue = e->overdue || (e->stop_step != STOP_NONE && e->outcome == OUTCOME_NONE);
    if (e->stop_step <= STOP_ASKED_AGENT && e->outcome == OUTCOME_NONE)
        ask_monitor(e);
    else
        run_kill(e);
}

void run_kill(struct env *e)
{
    if (e->control_fd >= 0) {
        close(e->control_fd);
        e->control_fd = -1;
    }
    e->stop_step = STOP_KILLED;
    int rc = priv_link_request(e->manager->priv, &(struct privctl_message){.type = PRIVCTL_KILL, .vm = e->vm},
                               NULL, 0);
    if (rc < 0 && rc != -ENOTCONN)
        log_warn(e->about, "cannot have the virtual machine killed now: %s", strerror(-rc));
    env_timer_in(e, KILL_AGAIN_MS); // the helper may be away
}

void run_give_up(struct env *e)
{
    char text[128];
    snprintf(text, sizeof text, "its agent did not say hello within %u ms of the start", boot_timeout_ms(e));
    break_off(e, "agent-timeout", text);
}

void run_resumed(struct env *e)
{
    e->agent_heard_ns = e->software[0] != '\0' ? io_monotonic_ns() : 0;
    if (e->software[0] == '\0')
        env_timer_in(e, boot_timeout_ms(e));
    if (!e->session || session_resumed(e->session) == -ENOTCONN)
        return; // the agent says hello anew
    env_dispatch(e, ENV_EVENT_HELLO);
}

void run_follow_pause(struct env *e)
{
    bool moving = e->state == ENV_BOOTING || e->state == ENV_READY;
    if (!e->link || e->asked_still != ASKED_NOTHING || (!moving && e->state != ENV_PAUSED))
        return;
    if (e->paused && moving && vm_link_pause(e->link) == 0)
        e->asked_still = ASKED_PAUSE;
    else if (!e->paused && e->state == ENV_PAUSED && vm_link_resume(e->link) == 0)
        e->asked_still = ASKED_RESUME;
}

void run_watch(struct env *e, uint64_t now_ns)
{
    char text[128];
    if (operations_overdue(e, now_ns)) {
        e->asked_still = ASKED_NOTHING; // what is wished is asked for once more
        reconcile_queue(e);
    }
    if (e->agent_heard_ns == 0 || e->spec.watchdog_s == 0 || e->stands_still ||
        (e->state != ENV_READY && e->state != ENV_BOOTING))
        return;
    if (e->session && e->state == ENV_READY) {
        uint64_t heard_ns = now_ns - session_silent_ms(e->session) * 1000000u;
        if (heard_ns > e->agent_heard_ns)
            e->agent_heard_ns = heard_ns;
    }
    if (now_ns - e->agent_heard_ns < e->spec.watchdog_s * 1000000000ull)
        return;
    snprintf(text, sizeof text, "its agent has said nothing for %u s, which is what its watchdog allows",
             e->spec.watchdog_s);
    break_off(e, "guest-hung", text);
}

void run_let_go(struct env *e)
{
    start_linux_cancel(e);
    streams_let_go(e);
    if (e->session)
        session_close(e->session);
    e->session = NULL;
    vm_link_free(e->link);
    e->link = NULL;
    if (e->control_fd >= 0)
        close(e->control_fd);
    e->control_fd = -1;
}

void run_release(struct env *e)
{
    if (e->session)
        session_lost(take_ptr(e->session));
    run_let_go(e);
    stats_run_over(e);
    e->stands_still = false;
    e->asked_still = ASKED_NOTHING;
    e->agent_heard_ns = 0;
    e->pid = 0;
    e->stop_step = STOP_NONE;
    e->grace_ms = GRACE_MS;
    e->short_runs = io_monotonic_ns() - e->run_started_ns < LASTING_NS ? e->short_runs + 1 : 0;
    // Whoever follows its log learns of the end.
    if (e->manager->on_log)
        e->manager->on_log(e->manager->on_log_arg, e->tenant, e->name);
}

// Why a process that said nothing has gone.
static void explain_silence(struct env *e, int32_t wait_status)
{
    if (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL)
        reason_set(
            &e->reason, "monitor-killed",
            "its virtual machine's monitor (pid %u) was killed from outside: by root, or by the kernel for "
            "want of memory",
            e->pid);
    else if (WIFSIGNALED(wait_status))
        reason_set(&e->reason, "monitor-died", "its virtual machine's monitor (pid %u) died of signal %d",
                   e->pid, WTERMSIG(wait_status));
    else
        reason_set(&e->reason, "monitor-exited",
                   "its virtual machine's monitor (pid %u) ended with status %d and said nothing", e->pid,
                   WEXITSTATUS(wait_status));
}

void run_exited(struct env *e, int32_t wait_status)
{
    if (e->link)
        vm_link_drain(e->link); // its last words
    priv_link_request(e->manager->priv, &(struct privctl_message){.type = PRIVCTL_FORGET, .vm = e->vm}, NULL,
                      0);
    reason_clear(&e->reason);
    enum env_event event = ENV_EVENT_ENDED;
    if (e->outcome == OUTCOME_EXITED)
        e->exit_status = e->outcome_code;
    if (e->outcome == OUTCOME_FAILED) {
        e->reason = e->outcome_reason;
        event = ENV_EVENT_BROKE;
    } else if (e->overdue) {
        reason_set(&e->reason, "ended", "it did not finish within its grace and was ended");
    } else if (e->outcome == OUTCOME_EXITED) {
        e->reason = e->outcome_reason; // of its own accord: powered-off, rebooted
    } else if (e->outcome == OUTCOME_NONE && e->stop_step < STOP_ASKED_MONITOR) {
        explain_silence(e, wait_status);
        event = ENV_EVENT_BROKE;
    }
    env_dispatch(e, event);
}
