// Owns the instance's control groups. Called by spawn.c and cleanup.c; knows no VMs, only group names and
// limits.
#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/cleanup.h"

#define SHARES_MIN      2u
#define SHARES_MAX      262144u
#define LINE_CAP        4096
#define FILE_NAME_CAP   96  // "<vm id>/memory.memsw.limit_in_bytes"
#define REMOVE_TRIES    400 // with the pause, two seconds
#define REMOVE_PAUSE_MS 5
#define PERIOD_US       100000u // of the CPU quota: the kernel's default, in both versions

static const char *const v1_controllers[CGROUP_HIERARCHIES_MAX] = {"cpu", "memory", "pids"};

enum limit_kind {
    LIMIT_MEMORY,
    LIMIT_WEIGHT,
    LIMIT_SHARES,
    LIMIT_QUOTA,
    LIMIT_PIDS,
    LIMIT_ZERO,
    LIMIT_COUNT
};

// Which file says what, where. Index: for version 1 that of v1_controllers.
static const struct limit_file {
    enum cgroup_version version;
    unsigned hierarchy;
    const char *file;
    enum limit_kind kind;
    bool optional;
} limit_files[] = {
    {CGROUP_V1, 0, "cpu.shares", LIMIT_SHARES, false},
    {CGROUP_V1, 0, "cpu.cfs_quota_us", LIMIT_QUOTA, true}, // only where the kernel has CFS bandwidth control
    {CGROUP_V1, 1, "memory.limit_in_bytes", LIMIT_MEMORY, false},
    {CGROUP_V1, 1, "memory.memsw.limit_in_bytes", LIMIT_MEMORY, true}, // only where swap is accounted for
    {CGROUP_V1, 2, "pids.max", LIMIT_PIDS, false},
    {CGROUP_V2, 0, "cpu.weight", LIMIT_WEIGHT, false},
    {CGROUP_V2, 0, "cpu.max", LIMIT_QUOTA, true},
    {CGROUP_V2, 0, "memory.max", LIMIT_MEMORY, false},
    {CGROUP_V2, 0, "memory.swap.max", LIMIT_ZERO, true},
    {CGROUP_V2, 0, "pids.max", LIMIT_PIDS, false},
};

const char *cgroup_version_name(enum cgroup_version v)
{
    static const char *const names[] = {[CGROUP_NONE] = "none", [CGROUP_V1] = "v1", [CGROUP_V2] = "v2"};
    return names[v];
}

uint32_t cgroup_shares_of_weight(uint32_t weight)
{
    uint64_t shares = (uint64_t)weight * 1024 / 100;
    return shares < SHARES_MIN ? SHARES_MIN : shares > SHARES_MAX ? SHARES_MAX : (uint32_t)shares;
}

// True when word is one of a comma-separated list.
static bool list_has(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; (p = strstr(p, word)) != NULL; p += n)
        if ((p == list || p[-1] == ',') && (p[n] == ',' || p[n] == '\0'))
            return true;
    return false;
}

// One line of proc(5)'s mountinfo: id parent major:minor root MOUNTPOINT options… - TYPE source SUPEROPTIONS
static bool line_mounts(const char *line, const char *controller, char *ret, unsigned long cap)
{
    const char *tail = strstr(line, " - ");
    char point[LINE_CAP], type[32], options[1024] = "";
    if (!tail || sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1 ||
        sscanf(tail, " - %31s %*s %1023s", type, options) < 1)
        return false;
    if (controller ? strcmp(type, "cgroup") != 0 || !list_has(options, controller)
                   : strcmp(type, "cgroup2") != 0)
        return false;
    int n = snprintf(ret, cap, "%s", point);
    return n >= 0 && (unsigned long)n < cap;
}

bool cgroup_find_mount(const char *mountinfo, const char *controller, char *ret, unsigned long cap)
{
    for (const char *p = mountinfo; *p;) {
        size_t n = strcspn(p, "\n");
        char line[LINE_CAP];
        if (n < sizeof line) {
            memcpy(line, p, n);
            line[n] = '\0';
            if (line_mounts(line, controller, ret, cap))
                return true;
        }
        p += n + (p[n] == '\n');
    }
    return false;
}

static int write_file(int folder, const char *file, const char *text)
{
    _cleanup_close_ int fd = openat(folder, file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    size_t n = strlen(text);
    return write(fd, text, n) == (ssize_t)n ? 0 : -errno;
}

// Version 2 is usable when all our controllers can be handed to groups below the root.
static bool v2_usable(int root)
{
    char text[LINE_CAP] = "";
    _cleanup_close_ int fd = openat(root, "cgroup.controllers", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        return false;
    for (char *p = text; *p; p++)
        if (*p == ' ' || *p == '\n')
            *p = ',';
    for (unsigned n = 0; n < ARRAY_LEN(v1_controllers); n++)
        if (!list_has(text, v1_controllers[n]))
            return false;
    return write_file(root, "cgroup.subtree_control", "+cpu +memory +pids") == 0;
}

static void open_hierarchies(struct cgroups *cg, const char *mountinfo)
{
    char point[LINE_CAP];
    if (cgroup_find_mount(mountinfo, NULL, point, sizeof point)) {
        _cleanup_close_ int root = open(point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root >= 0 && v2_usable(root)) {
            cg->version = CGROUP_V2;
            cg->hierarchy[cg->n++] = take_fd(&root);
            return;
        }
    }
    for (unsigned n = 0; n < ARRAY_LEN(v1_controllers); n++) {
        int root = -1;
        if (cgroup_find_mount(mountinfo, v1_controllers[n], point, sizeof point))
            root = open(point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root < 0) {
            cgroups_close(cg);
            return;
        }
        cg->hierarchy[cg->n++] = root;
    }
    cg->version = CGROUP_V1;
}

// Opens envd-<instance> in hierarchy n, made when missing. Only root may open it, so nobody else can hold the
// lock.
static int open_base(struct cgroups *cg, unsigned n)
{
    if (mkdirat(cg->hierarchy[n], cg->name, 0700) < 0 && errno != EEXIST)
        return -errno;
    cg->base[n] = openat(cg->hierarchy[n], cg->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (cg->base[n] < 0)
        return -errno;
    if (flock(cg->base[n], LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    return cg->version == CGROUP_V2 ? write_file(cg->base[n], "cgroup.subtree_control", "+cpu +memory +pids")
                                    : 0;
}

static void cgroups_init(struct cgroups *cg, const struct instance *i)
{
    *cg = (struct cgroups){.version = CGROUP_NONE};
    for (unsigned n = 0; n < CGROUP_HIERARCHIES_MAX; n++)
        cg->base[n] = cg->hierarchy[n] = -1;
    snprintf(cg->name, sizeof cg->name, "envd-%s", i->text);
}

int cgroups_open(struct cgroups *cg, const char *mountinfo, const struct instance *i, struct err *err)
{
    cgroups_init(cg, i);
    open_hierarchies(cg, mountinfo);
    if (cg->version == CGROUP_NONE) {
        err_set(err, 0, "no cgroup hierarchy with cpu, memory and pids is mounted");
        return 0;
    }
    for (unsigned n = 0; n < cg->n; n++) {
        int rc = open_base(cg, n);
        if (rc == 0)
            continue;
        cgroups_close(cg);
        if (rc == -EBUSY)
            return err_set(err, rc,
                           "instance %s is in use by another envpriv: give this one another --instance",
                           i->text);
        err_errno(err, rc, "make cgroup %s", cg->name);
        return 0;
    }
    return 0;
}

void cgroups_close(struct cgroups *cg)
{
    for (unsigned n = 0; n < cg->n; n++) {
        cleanup_close(&cg->base[n]);
        cleanup_close(&cg->hierarchy[n]);
        cg->base[n] = cg->hierarchy[n] = -1;
    }
    cg->version = CGROUP_NONE;
    cg->n = 0;
}

static void kill_members(int group)
{
    _cleanup_close_ int fd = openat(group, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    _cleanup_fclose_ FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (!f)
        return;
    take_fd(&fd);
    int pid;
    while (fscanf(f, "%d", &pid) == 1)
        if (pid > 0)
            kill(pid, SIGKILL);
}

// Kills and removes one group; a killed process takes a moment to leave it.
static int remove_group(int base, const char *group)
{
    for (int i = 0; i < REMOVE_TRIES; i++) {
        if (unlinkat(base, group, AT_REMOVEDIR) == 0 || errno == ENOENT)
            return 0;
        if (errno != EBUSY)
            return -errno;
        _cleanup_close_ int fd = openat(base, group, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0)
            kill_members(fd);
        nanosleep(&(struct timespec){.tv_nsec = REMOVE_PAUSE_MS * 1000000L}, NULL);
    }
    return -EBUSY;
}

static int clean_base(int base)
{
    _cleanup_close_ int fd = openat(base, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d)
        return -errno;
    take_fd(&fd);
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d)) != NULL;)
        if (e->d_type == DT_DIR && e->d_name[0] != '.')
            rc = remove_group(base, e->d_name);
    closedir(d);
    return rc;
}

int cgroups_clean(struct cgroups *cg, bool with_base, struct err *err)
{
    for (unsigned n = 0; n < cg->n; n++) {
        int rc = clean_base(cg->base[n]);
        if (rc == 0 && with_base && unlinkat(cg->hierarchy[n], cg->name, AT_REMOVEDIR) < 0 && errno != ENOENT)
            rc = -errno;
        if (rc < 0)
            return err_errno(err, rc, "remove what is left in cgroup %s", cg->name);
    }
    return 0;
}

static void limit_text(enum limit_kind kind, const struct cgroup_limits *limits, char ret[24])
{
    const uint64_t values[] = {
        [LIMIT_MEMORY] = limits->memory_max_bytes,
        [LIMIT_WEIGHT] = limits->cpu_weight,
        [LIMIT_SHARES] = cgroup_shares_of_weight(limits->cpu_weight),
        [LIMIT_QUOTA] =
            (uint64_t)limits->cpu_percent * (PERIOD_US / 100), // of the period, which is the default
        [LIMIT_PIDS] = limits->pids_max,
        [LIMIT_ZERO] = 0,
    };
    _Static_assert(ARRAY_LEN(values) == LIMIT_COUNT, "one value per kind of limit");
    snprintf(ret, 24, "%" PRIu64, values[kind]);
}

static int set_limits(const struct cgroups *cg, unsigned hierarchy, const char *vm,
                      const struct cgroup_limits *limits, struct err *err)
{
    for (unsigned n = 0; n < ARRAY_LEN(limit_files); n++) {
        const struct limit_file *f = &limit_files[n];
        if (f->version != cg->version || f->hierarchy != hierarchy ||
            (f->kind == LIMIT_QUOTA && limits->cpu_percent == 0))
            continue;
        char text[24], file[FILE_NAME_CAP];
        limit_text(f->kind, limits, text);
        snprintf(file, sizeof file, "%s/%s", vm, f->file);
        int rc = write_file(cg->base[hierarchy], file, text);
        if (rc < 0 && !f->optional)
            return err_errno(err, rc, "set %s to %s", f->file, text);
    }
    return 0;
}

static int make_in(struct cgroups *cg, unsigned n, const char *vm, const struct cgroup_limits *limits,
                   struct cgroup_entry *e, struct err *err)
{
    if (mkdirat(cg->base[n], vm, 0700) < 0)
        return err_errno(err, -errno, "make cgroup %s/%s", cg->name, vm);
    int rc = set_limits(cg, n, vm, limits, err);
    if (rc < 0)
        return err_wrap(err, rc, "cgroup %s/%s", cg->name, vm);
    char file[FILE_NAME_CAP];
    snprintf(file, sizeof file, "%s/tasks", vm);
    e->fd[n] = cg->version == CGROUP_V2 ? openat(cg->base[n], vm, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                                        : openat(cg->base[n], file, O_WRONLY | O_CLOEXEC);
    if (e->fd[n] < 0)
        return err_errno(err, -errno, "open cgroup %s/%s", cg->name, vm);
    e->n = n + 1;
    return 0;
}

int cgroup_make(struct cgroups *cg, const char *vm, const struct cgroup_limits *limits,
                struct cgroup_entry *ret, struct err *err)
{
    struct cgroup_entry e = {.version = cg->version};
    for (unsigned n = 0; n < cg->n; n++) {
        int rc = make_in(cg, n, vm, limits, &e, err);
        if (rc < 0) {
            cgroup_entry_close(&e);
            cgroup_remove(cg, vm, NULL);
            return rc;
        }
    }
    *ret = e;
    return 0;
}

void cgroup_entry_close(struct cgroup_entry *e)
{
    for (unsigned n = 0; n < e->n; n++)
        close(e->fd[n]);
    e->n = 0;
}

int cgroup_remove(struct cgroups *cg, const char *vm, struct err *err)
{
    for (unsigned n = 0; n < cg->n; n++)
        if (unlinkat(cg->base[n], vm, AT_REMOVEDIR) < 0 && errno != ENOENT)
            return err_errno(err, -errno, "remove cgroup %s/%s", cg->name, vm);
    return 0;
}
