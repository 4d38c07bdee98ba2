// See power.h. As PID 1: programs that are connected have heard of it and get half of the time; then SIGTERM
// to everything, SIGHUP (for interactive shells, which do not mind SIGTERM) after seven tenths, and when
// nothing is left, or nine tenths of the time are over, SIGKILL, unmounting, and the machine.
#include "power.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "common/log.h"
#include "spawn.h"

#define POLL_MS    20
#define KILL_MS    1000
#define MOUNTS_MAX 256
// systemd(1): SIGRTMIN+4 begins poweroff.target, +5 reboot.target. SIGRTMIN is what its libc, glibc, says:
// 34, not musl's.
#define SYSTEMD_POWEROFF (34 + 4)
#define SYSTEMD_REBOOT   (34 + 5)

enum phase { PHASE_NONE, PHASE_TOLD, PHASE_TERM, PHASE_HANGUP, PHASE_KILL };

struct power {
    struct loop *loop;
    enum power_mode mode;
    unsigned (*count_programs)(void *ctx);
    void *ctx;
    struct loop_source *timer;
    enum phase phase;
    enum power_end end;
    uint64_t told_until_ns, term_until_ns, hangup_until_ns, kill_until_ns;
};

// ---- the machine's end ----

static void unmount_all(void)
{
    char *points[MOUNTS_MAX], line[1024], point[512];
    size_t n = 0;
    _cleanup_fclose_ FILE *f = fopen("/proc/self/mounts", "re");
    while (f && n < MOUNTS_MAX && fgets(line, sizeof line, f))
        if (sscanf(line, "%*s %511s", point) == 1 && strcmp(point, "/proc") != 0 &&
            (points[n] = strdup(point)) != NULL)
            n++;
    while (n-- > 0) {
        if (umount2(points[n], 0) < 0) // what is still busy, the root among them, becomes read-only
            mount(NULL, points[n], NULL, MS_REMOUNT | MS_RDONLY, NULL);
        free(points[n]);
    }
}

static void end_machine(const struct power *p)
{
    sync();
    unmount_all();
    sync();
    reboot(p->end == POWER_REBOOT ? RB_AUTOBOOT : RB_POWER_OFF);
    log_error(NULL, "the machine cannot be ended: %s", strerror(errno)); // a container without the right
    loop_stop(p->loop);
}

static bool nothing_runs(void)
{
    return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD; // every process descends from PID 1
}

static void enter(struct power *p, enum phase phase)
{
    p->phase = phase;
    if (phase == PHASE_TERM) {
        kill(-1, SIGTERM);
        kill(-1, SIGCONT);
    } else if (phase == PHASE_HANGUP) {
        kill(-1, SIGHUP);
    } else if (phase == PHASE_KILL) {
        kill(-1, SIGKILL);
        p->kill_until_ns = io_monotonic_ns() + KILL_MS * 1000000ull;
    }
}

static void on_timer(void *arg, uint32_t events)
{
    struct power *p = arg;
    uint64_t now_ns = io_monotonic_ns();
    (void)events;
    if (p->phase == PHASE_TOLD && (now_ns >= p->told_until_ns || p->count_programs(p->ctx) == 0))
        enter(p, PHASE_TERM);
    if (p->phase == PHASE_TERM && (now_ns >= p->term_until_ns || nothing_runs()))
        enter(p, PHASE_HANGUP);
    if (p->phase == PHASE_HANGUP && (now_ns >= p->hangup_until_ns || nothing_runs()))
        enter(p, PHASE_KILL);
    if (p->phase == PHASE_KILL && (now_ns >= p->kill_until_ns || nothing_runs())) {
        end_machine(p);
        return;
    }
    loop_timer_set(p->timer, now_ns + POLL_MS * 1000000ull);
}

// ---- asking others ----

static void run_poweroff(enum power_end end)
{
    const char *const argv[] = {end == POWER_REBOOT ? "reboot" : "poweroff", NULL};
    const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    const struct spawn s = {.argv = argv, .env = env, .cwd = "/", .stdio = {0, 1, 2}, .report_fd = -1};
    pid_t pid = spawn(&s);
    if (pid < 0)
        log_error(NULL, "run %s: %s", argv[0], strerror(-pid));
}

static void ask_init_system(enum power_end end)
{
    struct stat st;
    if (stat("/run/systemd/system", &st) < 0)
        run_poweroff(end);
    else if (kill(1, end == POWER_REBOOT ? SYSTEMD_REBOOT : SYSTEMD_POWEROFF) < 0)
        log_error(NULL, "ask systemd to end: %s", strerror(errno));
}

void power_end(struct power *p, enum power_end end, uint32_t grace_ms)
{
    uint64_t now_ns = io_monotonic_ns(), grace_ns = grace_ms * 1000000ull;
    if (p->phase != PHASE_NONE)
        return;
    p->phase = PHASE_TOLD;
    p->end = end;
    if (p->mode == POWER_SERVICE) {
        ask_init_system(end);
    } else if (p->mode == POWER_PROCESS) {
        loop_stop(p->loop);
    } else {
        p->told_until_ns = now_ns + grace_ns / 2;
        p->term_until_ns = now_ns + grace_ns / 10 * 7;
        p->hangup_until_ns = now_ns + grace_ns / 10 * 9;
        loop_timer_set(p->timer, now_ns + 1);
    }
}

bool power_is_ending(const struct power *p)
{
    return p->phase != PHASE_NONE;
}

struct power *power_new(struct loop *loop, enum power_mode mode, unsigned (*count_programs)(void *ctx),
                        void *ctx)
{
    struct power *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    *p = (struct power){.loop = loop,
                        .mode = mode,
                        .count_programs = count_programs,
                        .ctx = ctx,
                        .timer = loop_add_timer(loop, on_timer, p)};
    if (p->timer)
        return p;
    free(p);
    return NULL;
}

void power_free(struct power *p)
{
    if (!p)
        return;
    loop_remove(p->timer);
    free(p);
}
