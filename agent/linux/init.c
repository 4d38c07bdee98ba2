// See init.h. Whatever fails is said and left: an agent that runs beats one that does not.
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "common/checked.h"
#include "common/io.h"
#include "common/log.h"
#include "modules.h"
#include "net.h"
#include "spawn.h"

#define COMMAND "/etc/env/init"

struct init {
    struct loop *loop;
    struct loop_source *timer;
    void (*at_end)(void *arg);
    void *arg;
    struct modules modules;
    size_t step;
};

static void load(const struct modules *m, const char *name)
{
    struct err err;
    if (modules_load(m, name, &err) < 0)
        log_warn(NULL, "%s", err.text);
}

// ---- before the loop ----

static void mount_one(const char *type, const char *target, unsigned long flags, const char *options);

// A kernel that found no /dev/console in its initrd starts us without any descriptor.
static void open_standard_files(void)
{
    if (fcntl(STDERR_FILENO, F_GETFD) >= 0)
        return;
    mount_one("devtmpfs", "/dev", MS_NOSUID, "mode=0755");
    int fd = open("/dev/console", O_RDWR | O_NOCTTY);
    if (fd < 0)
        fd = open("/dev/null", O_RDWR);
    for (int i = 0; fd >= 0 && i < 3; i++)
        if (i != fd)
            dup2(fd, i);
    if (fd > STDERR_FILENO)
        close(fd);
}

void init_early(void)
{
    static const char *const link_drivers[] = {"virtio_mmio", "virtio_pci", "vmw_vsock_virtio_transport"};
    struct modules m;
    open_standard_files();
    modules_init(&m, "");
    for (size_t i = 0; i < ARRAY_LEN(link_drivers); i++)
        load(&m, link_drivers[i]);
    modules_done(&m);
}

// ---- steps ----

static bool is_mount_point(const char *path)
{
    struct stat here, above;
    char parent[64];
    size_t len = strlen(path);
    if (len + 4 > sizeof parent || stat(path, &here) < 0)
        return false;
    memcpy(parent, path, len);
    memcpy(parent + len, "/..", 4);
    return stat(parent, &above) == 0 && here.st_dev != above.st_dev;
}

static void mount_one(const char *type, const char *target, unsigned long flags, const char *options)
{
    mkdir(target, 0755); // it may be there
    if (is_mount_point(target))
        return;
    if (mount(type, target, type, flags, options) < 0 && errno != EBUSY)
        log_warn(NULL, "mount %s: %s", target, strerror(errno));
}

static void step_file_systems(struct init *init)
{
    static const struct {
        const char *type, *target;
        unsigned long flags;
        const char *options;
    } mounts[] = {
        {"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
        {"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
        {"devtmpfs", "/dev", MS_NOSUID, "mode=0755"},
        {"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666"},
        {"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777"},
        {"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755"},
        {"tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777"},
    };
    (void)init;
    for (size_t i = 0; i < ARRAY_LEN(mounts); i++)
        mount_one(mounts[i].type, mounts[i].target, mounts[i].flags, mounts[i].options);
}

static void step_links(struct init *init)
{
    static const char *const links[][2] = {{"/proc/self/fd", "/dev/fd"},
                                           {"/proc/self/fd/0", "/dev/stdin"},
                                           {"/proc/self/fd/1", "/dev/stdout"},
                                           {"/proc/self/fd/2", "/dev/stderr"}};
    (void)init;
    for (size_t i = 0; i < ARRAY_LEN(links); i++)
        if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
            log_warn(NULL, "make %s: %s", links[i][1], strerror(errno));
}

static void step_loopback(struct init *init)
{
    struct err err;
    (void)init;
    if (net_loopback_up(&err) < 0)
        log_warn(NULL, "%s", err.text);
}

// Ctrl-Alt-Del is a signal to us, which nobody here sends.
static void step_keyboard(struct init *init)
{
    (void)init;
    reboot(RB_DISABLE_CAD); // refused in a container, where there is none
}

static void step_modules_list(struct init *init)
{
    modules_init(&init->modules, "");
}

static void step_net(struct init *init)
{
    load(&init->modules, "virtio_net");
}

static void step_disks(struct init *init)
{
    load(&init->modules, "virtio_blk");
}

static void step_random(struct init *init)
{
    load(&init->modules, "virtio_rng");
}

static void step_memory(struct init *init)
{
    load(&init->modules, "virtio_balloon");
}

static void step_console(struct init *init)
{
    load(&init->modules, "virtio_console");
}

static void on_command_ended(void *arg, int status)
{
    (void)arg;
    if (WIFSIGNALED(status))
        log_warn(NULL, COMMAND " was ended by signal %d; the environment goes on", WTERMSIG(status));
    else
        log_info(NULL, COMMAND " ended with status %d; the environment goes on", WEXITSTATUS(status));
}

static void step_command(struct init *init)
{
    const char *const argv[] = {COMMAND, NULL};
    const char *const env[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/",
                               NULL};
    const struct spawn s = {.argv = argv, .env = env, .cwd = "/", .stdio = {0, 1, 2}, .report_fd = -1};
    if (access(COMMAND, X_OK) < 0)
        return;
    pid_t pid = spawn(&s);
    if (pid < 0)
        log_error(NULL, "run " COMMAND ": %s", strerror(-pid));
    else
        children_watch(pid, on_command_ended, init);
}

static void step_other_modules(struct init *init)
{
    struct err err;
    if (modules_load_rest(&init->modules, &err) < 0)
        log_warn(NULL, "%s", err.text);
}

static void step_end(struct init *init)
{
    modules_done(&init->modules);
    init->at_end(init->arg);
}

static void (*const steps[])(struct init *init) = {
    step_file_systems,  step_modules_list, step_net,     step_links,  step_loopback,
    step_keyboard,      step_disks,        step_random,  step_memory, step_console,
    step_other_modules, step_end,          step_command,
};

static void do_step(struct init *init)
{
    if (init->step < ARRAY_LEN(steps))
        steps[init->step++](init);
}

static void on_timer(void *arg, uint32_t events)
{
    struct init *init = arg;
    (void)events;
    do_step(init);
    if (init->step < ARRAY_LEN(steps))
        loop_timer_set(init->timer, io_monotonic_ns());
}

struct init *init_new(struct loop *loop, void (*at_end)(void *arg), void *arg)
{
    struct init *init = calloc(1, sizeof *init);
    if (!init)
        return NULL;
    *init = (struct init){.loop = loop, .at_end = at_end, .arg = arg};
    init->timer = loop_add_timer(loop, on_timer, init);
    if (!init->timer) {
        free(init);
        return NULL;
    }
    loop_timer_set(init->timer, io_monotonic_ns());
    return init;
}

void init_finish(struct init *init)
{
    while (init && init->step < ARRAY_LEN(steps))
        do_step(init);
}

void init_free(struct init *init)
{
    if (!init)
        return;
    modules_done(&init->modules);
    loop_remove(init->timer);
    free(init);
}
