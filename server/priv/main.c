// envpriv: the only part of envd that runs as root. Makes what environments need of the kernel, starts each
// envvm in its jail, and is its parent. This file is the order of start and end; it knows no request.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "caps.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "common/log.h"
#include "net_filter.h"
#include "options.h"
#include "priv.h"
#include "run_folder.h"
#include "server.h"

#define MOUNTINFO_CAP ((size_t)1 << 20)
#define FDS_PER_VM    1u
#define FDS_OWN       64u

// Standard descriptors that are closed would be taken by our own, and be replaced in a child.
static int settle_process(int *ret_signals, struct err *err)
{
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
        ;
    if (fd < 0)
        return err_errno(err, -errno, "open /dev/null");
    close(fd);
    if (geteuid() != 0)
        return err_set(err, -EPERM, "not root: envpriv makes taps, cgroups and namespaces (sudo envpriv …)");
    if (setgroups(0, NULL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_errno(err, -errno, "drop supplementary groups and future privileges");
    umask(0077);
    signal(SIGPIPE, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    *ret_signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return *ret_signals < 0 ? err_errno(err, -errno, "signalfd") : 0;
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    const rlim_t wanted = VMS_MAX * FDS_PER_VM + FDS_OWN;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = wanted;
    if (limit.rlim_max < wanted)
        limit.rlim_max = wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) // needs CAP_SYS_RESOURCE, which a container's root may not have
        log_warn(NULL, "raise the limit of descriptors to %ju: %s: fewer VMs than %u are possible",
                 (uintmax_t)wanted, strerror(errno), VMS_MAX);
}

static int open_cgroups(struct priv *p, struct err *err)
{
    _cleanup_free_ char *mountinfo = calloc(1, MOUNTINFO_CAP + 1);
    if (!mountinfo)
        return err_errno(err, -ENOMEM, "read the mounts");
    ssize_t n = io_read_file("/proc/self/mountinfo", mountinfo, MOUNTINFO_CAP);
    if (n < 0)
        return err_errno(err, (int)n, "read /proc/self/mountinfo");
    struct err why;
    int rc = cgroups_open(&p->cgroups, mountinfo, &p->instance, &why);
    if (rc < 0)
        return err_set(err, rc, "%s", why.text);
    if (p->cgroups.version == CGROUP_NONE)
        log_warn(NULL, "environments have no CPU, memory and process limits of their own: %s", why.text);
    return 0;
}

// The cgroups come last: they are the first thing that is left behind by giving up.
static int open_kernel_interfaces(struct priv *p, const struct options *o, struct err *err)
{
    int rc = netlink_init(&p->rt, NETLINK_ROUTE, err);
    if (rc == 0)
        rc = netlink_init(&p->nf, NETLINK_NETFILTER, err);
    if (rc == 0)
        rc = jail_open(&p->jail, o->envvm, err);
    if (rc == 0)
        rc = open_cgroups(p, err);
    if (rc < 0)
        return rc;
    kvm_open(&p->kvm, KVM_PATH);
    if (p->kvm.fd < 0)
        log_warn(NULL, "no environment can start: %s", p->kvm.detail);
    return 0;
}

static int serve(struct priv *p, const struct options *o, const struct run_folder *folder, int *signals,
                 struct err *err)
{
    int listener;
    int rc = run_folder_listen(folder, &listener, err);
    if (rc < 0)
        return rc;
    struct server server;
    rc = server_init(&server, p, o->user, listener, take_fd(signals));
    if (rc == 0) {
        log_info(NULL, "ready on %s/%s: instance %s, kvm %s, cgroup %s, user ids from %u", folder->real_path,
                 RUN_FOLDER_SOCKET, p->instance.text, kvm_kind_name(p->kvm.kind),
                 cgroup_version_name(p->cgroups.version), p->uid_base);
        rc = server_run(&server, err);
    }
    server_done(&server);
    return rc;
}

static int run(struct priv *p, const struct options *o, const struct run_folder *folder, int *signals,
               struct err *err)
{
    p->instance = o->has_instance ? o->instance : instance_of_folder(folder->real_path);
    p->uid_base = o->uid_base ? o->uid_base : instance_uid_base(&p->instance);
    int rc = open_kernel_interfaces(p, o, err);
    if (rc < 0)
        return rc;
    rc = cleanup_leftovers(p, err);
    if (rc == 0)
        rc = net_filter_open(&p->nf, &p->instance, err);
    if (rc == 0)
        rc = caps_keep_needed(err); // drop what is left
    if (rc == 0)
        rc = serve(p, o, folder, signals, err);
    caps_wake_for_the_end();
    struct err failed;
    int cleaned = cleanup_everything(p, &failed);
    return rc < 0 ? rc : cleaned < 0 ? err_set(err, cleaned, "clean up: %s", failed.text) : 0;
}

static struct priv *priv_new(void)
{
    struct priv *p = calloc(1, sizeof *p);
    if (!p || vms_init(&p->vms) < 0) {
        free(p);
        return NULL;
    }
    p->kvm.fd = -1;
    jail_init(&p->jail);
    return p;
}

static void priv_free(struct priv *p)
{
    kvm_close(&p->kvm);
    jail_close(&p->jail);
    cgroups_close(&p->cgroups);
    netlink_done(&p->rt);
    netlink_done(&p->nf);
    vms_done(&p->vms);
    free(p);
}

int main(int argc, char **argv)
{
    log_init("envpriv", LOG_LEVEL_INFO);
    struct options o;
    struct err err;
    if (options_parse(argc, argv, &o, &err) < 0) {
        log_error(NULL, "%s", err.text);
        return 2;
    }
    if (o.help) {
        fputs(options_usage, stdout);
        return 0;
    }
    if (o.debug)
        log_init("envpriv", LOG_LEVEL_DEBUG);

    _cleanup_close_ int signals = -1;
    struct run_folder folder;
    int rc = settle_process(&signals, &err);
    if (rc == 0)
        rc = run_folder_open(&folder, o.run, o.user, o.group, &err);
    if (rc < 0) {
        log_error(NULL, "%s", err.text);
        return 1;
    }
    raise_descriptor_limit();
    struct priv *p = priv_new();
    if (p) {
        rc = run(p, &o, &folder, &signals, &err);
        priv_free(p);
    } else {
        rc = err_errno(&err, -ENOMEM, "start");
    }
    run_folder_close(&folder);
    if (rc < 0)
        log_error(NULL, "%s", err.text);
    return rc < 0 ? 1 : 0;
}
