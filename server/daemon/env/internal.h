// What the files of env/ share about one environment and the manager. Included by env.c, run.c, status.c,
// reconcile.c, operations.c, streams.c and manager.c only.
#pragma once

#include <limits.h>

#include "env/documents.h"
#include "env/file_worker.h"
#include "env/manager.h"
#include "env/objects.h"
#include "env/reason.h"
#include "env/vm_link.h"
#include "proto/agent.h"
#include "route/session.h"

#define ABOUT_CAP (2 * NAME_CAP)
#define GRACE_MS  5000

struct operation;
struct linux_start;
struct stats_round;
struct stream_arrival;
struct stream_wait;

// How far the ending of a virtual machine has gone.
enum stop_step { STOP_NONE, STOP_ASKED_AGENT, STOP_ASKED_MONITOR, STOP_KILLED };

// What envvm was told of standing still and has not done yet.
enum asked_still { ASKED_NOTHING, ASKED_PAUSE, ASKED_RESUME };

// What envvm said of its end, before it was reaped.
enum outcome { OUTCOME_NONE, OUTCOME_EXITED, OUTCOME_FAILED };

struct env {
    struct manager *manager;
    char tenant[NAME_CAP], name[NAME_CAP];
    char about[ABOUT_CAP]; // "tenant/name", for the log
    char uid[ID_TEXT_CAP];

    // What is wanted: from the document under environments/.
    json_t *doc;
    struct env_spec spec;
    struct mediate_label labels[MEDIATE_LABELS_MAX];
    size_t n_labels;
    uint32_t net, ipv4;
    int64_t generation;
    int64_t restart_below; // runs of earlier generations are to end first
    bool deleting, paused;

    // What is: written to status/. state is written by env_dispatch() only.
    enum env_state state;
    struct reason reason;
    bool has_exit_status;
    int32_t exit_status;
    uint32_t restarts, reboots;
    uint64_t since_ms, started_ms, next_start_ms;
    struct id vm;
    int64_t generation_started;
    uint32_t pid;
    char measurement[DOC_DIGEST_CAP]; // empty: never started
    char software[AGENT_SOFTWARE_MAX + 1];

    // The present run.
    struct linux_start *start; // until its machine is asked for
    struct vm_link *link;
    struct session *session;
    uint64_t stream_tokens_ns; // when its bucket of connections was empty last: guests connect only so often
    struct stream_arrival *arrivals; // streams that have not said what they are
    struct stream_wait *waits;       // whoever waits for a stream or a console
    int control_fd;                  // handed from the helper's answer to ATTACH
    enum stop_step stop_step;
    uint32_t grace_ms;
    bool overdue; // the grace is over
    enum asked_still asked_still;
    bool stands_still;
    uint64_t agent_heard_ns;     // when the agent was known to live last, for the watchdog; 0: never
    struct vmctl_stats vm_stats; // as last told
    uint64_t vm_stats_ns, vm_stats_ms, guest_stats_ns;
    bool guest_asked, has_guest_stats;
    struct agent_stats guest_stats;
    enum outcome outcome;
    struct reason outcome_reason; // of OUTCOME_FAILED, or why envd itself ended it
    int32_t outcome_code;
    uint64_t run_started_ns;
    struct event *timer; // what it means depends on the state
    uint32_t short_runs; // in a row, refused starts too: for the backoff
    uint64_t restart_due_ns;

    bool listed;   // seen in the helper's present list
    bool removing; // the transaction that removes it is under way
    bool status_dirty, queued;
    struct env *next_queued;
    struct operation *operations;
};

struct manager {
    struct manager_config config;
    struct manager_deps deps;
    void *envs; // tsearch tree by tenant and name
    struct store_watch *watch_envs, *watch_operations, *watch_nets;
    struct priv_link *priv;
    struct priv_facts facts;
    char trouble[256];
    char kernel_digest[DOC_DIGEST_CAP];
    uint8_t net_up[PRIVCTL_NET_MAX / 8]; // networks that the helper is known to have made
    uint8_t
        net_gone[PRIVCTL_NET_MAX / 8]; // networks whose tenant is deleted, and that it has not yet taken down
    struct stray {
        struct id vm;
        bool exited;
        bool known; // it was an environment's
    } * strays;     // listed, and to be killed or forgotten when the list is complete
    size_t n_strays;
    struct env *queue;     // to be reconciled
    struct event *settle;  // reconciles what is queued, then writes what is dirty
    struct event *rewrite; // after a failed write
    struct event *tick;    // looks after silent agents, and asks for figures now and then
    unsigned ticks;
    struct file_worker *worker; // disks
    struct stats_round *rounds; // of questions that are not answered
    struct vmctl_stats ended;   // sums of runs that are over
    bool write_failed;
    struct operation *incoming; // to be attached
    struct operation *finished; // to be written
    void (*on_log)(void *arg, const char *tenant, const char *name);
    void *on_log_arg;
    void (*on_stopped)(void *arg);
    void *on_stopped_arg;
    struct event *stop_timer;
    bool stopping_all;
};

// env.c
struct env *env_new(struct manager *m, const char *tenant, const char *name);
void env_free(struct env *e);
// Takes over what the document says. False: it is not usable.
bool env_take_document(struct env *e, json_t *doc);
struct env *env_find(const struct manager *m, const char *tenant, const char *name);
struct env *env_find_vm(const struct manager *m, const struct id *vm);
void env_each(const struct manager *m, void (*visit)(struct env *e, void *arg), void *arg);
// The one writer of state: looks the table up, performs the action, logs old -> new.
void env_dispatch(struct env *e, enum env_event event);
// Why it does not run, as others may know it: its state, and the reason's code.
void env_tell_end(const struct env *e, char *ret, size_t cap);
void env_timer_in(struct env *e, uint64_t ms);
void env_timer_off(struct env *e);

// run.c: the actions
void run_spawn(struct env *e);
void run_attach(struct env *e);
void run_attach_dead(struct env *e); // for the last words of a process that is gone
void run_shutdown(struct env *e);
void run_escalate(struct env *e);
void run_kill(struct env *e);
void run_give_up(struct env *e);
void run_resumed(struct env *e);
void run_release(struct env *e);
// It could not be spawned: outcome_reason says why.
void run_refused(struct env *e);
// The process is gone: what that means, by what envvm said before.
void run_exited(struct env *e, int32_t wait_status);
// Its agent has been silent for longer than its watchdog allows: ends it. Called every second.
void run_watch(struct env *e, uint64_t now_ns);
// Has envvm stand still or go on, as is wished.
void run_follow_pause(struct env *e);
void run_let_go(struct env *e); // of descriptors and sessions, without a word to anybody

// The agent's own connection, of which the first bytes were read already. Takes fd.
void run_agent_connected(struct env *e, int fd, const void *untrusted, size_t len);

// streams.c
// The guest connected to the agent's port. Takes fd.
void streams_arrived(struct env *e, int fd);
// envvm's answer to CONSOLE. Takes fd, which may be -1.
void streams_console_came(struct env *e, int fd);
// The run is over: nobody waits any longer.
void streams_let_go(struct env *e);

// start_linux.c
// Begins the start: its end is a request for the machine, or run_refused(). 0; or -errno with *ret_reason
// filled (but for want of memory).
int start_linux(struct env *e, struct reason *ret_reason);
void start_linux_cancel(struct env *e);

// disk_work.c
void disk_work_remove(struct env *e);    // it is gone for good
void disk_work_sweep(struct manager *m); // what a predecessor could not remove

// stats.c
void stats_vm_answered(struct env *e, const struct vmctl_stats *stats);
void stats_run_over(struct env *e);
void stats_refresh_all(struct manager *m);
void stats_free(struct manager *m);

// status.c
void status_load(struct env *e, const json_t *status);
void status_dirty(struct env *e);
void status_flush(struct manager *m);

// reconcile.c
void reconcile_queue(struct env *e);
void reconcile_all(struct manager *m);
void on_settle(evutil_socket_t fd, short what, void *arg);

// operations.c
void operations_load(struct manager *m);
// An operation's document has come or changed: one that is pending waits to be attached.
void operations_take(struct manager *m, const char *key, json_t *doc);
// Attaches what waits to its environment. Not before all documents of a transaction have come.
void operations_attach(struct manager *m);
void operations_free(struct manager *m);
void operations_list_free(struct operation *list);
// The environment is gone: deletes and stops are done, starts have failed.
void operations_env_removed(struct env *e);
// Ends those that the environment's state has brought to their end.
void operations_settle(struct env *e);
// One of them waits for envvm's answer to a pause or resume for longer than is allowed.
bool operations_overdue(const struct env *e, uint64_t now_ns);
uint32_t operations_grace_ms(const struct env *e); // of the stop that waits, or the default
bool operations_pending_writes(const struct manager *m);
// Adds up to room finished ones to txn and returns them, the caller's: to be freed, or to be written again.
struct operation *operations_write(struct manager *m, struct store_txn *txn, size_t room);
void operations_write_again(struct manager *m, struct operation *list);

// helper.c
extern const struct priv_link_cb helper_callbacks; // arg: the manager
// A tenant's network is wanted no more (or again): so goes its bridge.
void helper_net_gone(struct manager *m, uint32_t net, bool gone);

// manager.c
void manager_check_stopped(struct manager *m); // calls on_stopped when no virtual machine is left
