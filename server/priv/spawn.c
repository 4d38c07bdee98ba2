// Owns the start of a VM: which requests are acceptable, and the order in which its kernel objects are made
// and unmade. Called by requests.c and reap.c; reads nothing of the configuration that it passes on.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "net_filter.h"
#include "priv.h"
#include "proto/logring.h"
#include "proto/vmctl.h"

#define MEMORY_BYTES_MIN  ((uint64_t)VMCTL_MEMORY_MIN_MIB << 20)
#define MEMORY_BYTES_MAX  ((uint64_t)1 << 40)
#define WEIGHT_MAX        10000u
#define PIDS_MIN          2u // a vCPU and the devices
#define PIDS_MAX          4096u
#define KERNEL_BYTES_MAX  ((uint64_t)256 << 20)
#define PROGRAM_BYTES_MAX ((uint64_t)1 << 30)
#define ARCHIVE_BYTES_MAX ((uint64_t)4 << 30)
#define DISK_BYTES_MAX    ((uint64_t)1 << 50)
#define CONFIG_HEADER     4 // u16 type, u16 zero

enum passed_mode {
    PASSED_READ,
    PASSED_WRITTEN, // by envvm
    PASSED_EITHER,  // as it was opened: which is which only the configuration says
};

// The descriptors that SPAWN carries, in order.
struct passed {
    const char *name;
    enum passed_mode mode;
    uint64_t bytes_min, bytes_max;
};

#define PASSED_KERNEL                                                                                        \
    {                                                                                                        \
        "kernel", PASSED_READ, 1, KERNEL_BYTES_MAX                                                           \
    }
#define PASSED_LOG                                                                                           \
    {                                                                                                        \
        "log", PASSED_WRITTEN, LOGRING_HEADER + LOGRING_CAPACITY_MIN,                                        \
            LOGRING_HEADER + (uint64_t)LOGRING_CAPACITY_MAX                                                  \
    }

static const struct passed cell_files[] = {
    PASSED_KERNEL,
    {"program", PASSED_READ, 1, PROGRAM_BYTES_MAX},
    PASSED_LOG,
    {"archive", PASSED_READ, 1, ARCHIVE_BYTES_MAX},
};
// Of an initrd and of disks there may be any number of each: they are all held against the last row.
static const struct passed linux_files[] = {
    PASSED_KERNEL,
    PASSED_LOG,
    {"initrd or disk", PASSED_EITHER, 1, DISK_BYTES_MAX},
};

static const struct passed_list {
    const struct passed *files;
    size_t n_files, n_min, n_max;
    const char *what;
} passed_lists[PRIVCTL_KIND_COUNT] = {
    [PRIVCTL_KIND_CELL] = {cell_files, ARRAY_LEN(cell_files), 3, 4,
                           "kernel, program, log and perhaps archive"},
    [PRIVCTL_KIND_LINUX] = {linux_files, ARRAY_LEN(linux_files), 2, PRIVCTL_FDS_MAX,
                            "kernel, log, perhaps initrd, and disks"},
};

// How a descriptor must not have been opened, or NULL.
static const char *check_mode(const struct passed *want, int flags)
{
    bool written = (flags & O_ACCMODE) != O_RDONLY;
    if (want->mode == PASSED_READ && written)
        return "reading only";
    if (want->mode == PASSED_WRITTEN && !written)
        return "writing, not appending";
    return written && (flags & O_APPEND) ? "writing, not appending" : NULL;
}

// *ret_written_bytes is raised to the size of a file that envvm may write to.
static int check_fd(const struct passed *want, int fd, uint64_t *ret_written_bytes, struct err *err)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) < 0)
        return err_errno(err, -errno, "look at the %s", want->name);
    if (!S_ISREG(st.st_mode) || (flags & O_PATH))
        return err_set(err, -EINVAL, "the %s is not a regular file that was opened for use", want->name);
    const char *needed = check_mode(want, flags);
    if (needed)
        return err_set(err, -EINVAL, "the %s has to be opened for %s", want->name, needed);
    if (st.st_size < 0 || (uint64_t)st.st_size < want->bytes_min || (uint64_t)st.st_size > want->bytes_max)
        return err_set(err, -EINVAL, "the %s is %jd bytes long, which is not %" PRIu64 " to %" PRIu64,
                       want->name, (intmax_t)st.st_size, want->bytes_min, want->bytes_max);
    if ((flags & O_ACCMODE) != O_RDONLY && (uint64_t)st.st_size > *ret_written_bytes)
        *ret_written_bytes = (uint64_t)st.st_size;
    return 0;
}

int spawn_check_fds(enum privctl_kind kind, const int *fds, size_t n_fds, uint64_t *ret_file_bytes,
                    struct err *err)
{
    const struct passed_list *list = &passed_lists[kind];
    uint64_t bytes = 0;
    if (n_fds < list->n_min || n_fds > list->n_max)
        return err_set(err, -EINVAL, "%zu descriptors instead of %s", n_fds, list->what);
    for (size_t i = 0; i < n_fds; i++) {
        size_t row = i < list->n_files ? i : list->n_files - 1;
        int rc = check_fd(&list->files[row], fds[i], &bytes, err);
        if (rc < 0)
            return rc;
    }
    *ret_file_bytes = bytes;
    return 0;
}

static int check_address(const struct priv *p, const struct privctl_spawn *r, struct err *err)
{
    const struct net *n = &p->nets[r->net];
    if (!n->up)
        return err_set(err, -ENETDOWN, "network %u is not up", r->net);
    uint32_t host = r->ipv4 & ~subnet_mask(n->subnet.prefix);
    if (!subnet_holds(n->subnet, r->ipv4) || r->ipv4 == n->subnet.gateway || host == 0 ||
        host == ~subnet_mask(n->subnet.prefix))
        return err_set(err, -EINVAL, "the address is not one for environments of network %u", r->net);
    // Locally administered (bit 1), unicast (bit 0); the bridges have MACs 02:65:6e:76:…
    static const uint8_t bridges[] = {0x02, 'e', 'n', 'v'};
    if ((r->mac[0] & 3) != 2 || memcmp(r->mac, bridges, sizeof bridges) == 0)
        return err_set(err, -EINVAL,
                       "the MAC is not a locally administered unicast one, or it is a bridge's");
    struct guest_address guest = {.ipv4 = r->ipv4};
    memcpy(guest.mac, r->mac, sizeof guest.mac);
    if (vms_address_taken(&p->vms, r->net, &guest))
        return err_set(err, -EADDRINUSE, "another environment of network %u has this MAC or address", r->net);
    return 0;
}

int spawn_check(const struct priv *p, const struct privctl_spawn *r, struct err *err)
{
    if (r->net >= PRIVCTL_NET_MAX)
        return err_set(err, -EINVAL, "there is no network %u", r->net);
    if (!name_valid(r->tenant, strlen(r->tenant)) || !name_valid(r->name, strlen(r->name)))
        return err_set(err, -EINVAL, "the tenant or the name is no name");
    if (r->memory_max_bytes < MEMORY_BYTES_MIN || r->memory_max_bytes > MEMORY_BYTES_MAX)
        return err_set(err, -EINVAL, "a memory limit of %" PRIu64 " bytes is not %" PRIu64 " to %" PRIu64,
                       r->memory_max_bytes, MEMORY_BYTES_MIN, MEMORY_BYTES_MAX);
    if (r->cpu_weight < 1 || r->cpu_weight > WEIGHT_MAX)
        return err_set(err, -EINVAL, "a CPU weight of %u is not 1 to %u", r->cpu_weight, WEIGHT_MAX);
    if (r->kind >= PRIVCTL_KIND_COUNT || r->cpu_percent > PRIVCTL_CPU_PERCENT_MAX)
        return err_set(err, -EINVAL, "a VM of kind %d with a CPU quota of %u %% is not one that can be made",
                       (int)r->kind, r->cpu_percent);
    if (r->pids_max < PIDS_MIN || r->pids_max > PIDS_MAX)
        return err_set(err, -EINVAL, "a limit of %u threads is not %u to %u", r->pids_max, PIDS_MIN,
                       PIDS_MAX);
    if (r->vm_config.len == 0 || r->vm_config.len > VMCTL_CONFIG_MAX)
        return err_set(err, -EINVAL, "a configuration of %zu bytes is not 1 to %u", r->vm_config.len,
                       VMCTL_CONFIG_MAX);
    if (vms_find(&p->vms, &r->vm))
        return err_set(err, -EEXIST, "there is a VM with this id already (KILL and FORGET it first)");
    return check_address(p, r, err);
}

static void fill_record(struct priv *p, struct vm *vm, const struct privctl_spawn *r)
{
    vm->id = r->vm;
    memcpy(vm->tenant, r->tenant, sizeof vm->tenant);
    memcpy(vm->name, r->name, sizeof vm->name);
    vm->uid = p->uid_base + vms_slot(&p->vms, vm);
    vm->net = r->net;
    vm->guest.ipv4 = r->ipv4;
    memcpy(vm->guest.mac, r->mac, sizeof vm->guest.mac);
}

// The control socket and, at its other end, envvm in its group and jail, waiting for CONFIG.
static int start_process(struct priv *p, struct vm *vm, const struct privctl_spawn *r, uint64_t file_bytes,
                         struct err *err)
{
    char id[ID_TEXT_CAP];
    id_format(&vm->id, id);
    struct cgroup_entry entry;
    const struct cgroup_limits limits = {r->memory_max_bytes, r->cpu_weight, r->cpu_percent, r->pids_max};
    int rc = cgroup_make(&p->cgroups, id, &limits, &entry, err);
    if (rc < 0)
        return rc;
    char title[2 * NAME_CAP];
    snprintf(title, sizeof title, "%s/%s", vm->tenant, vm->name);
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        rc = err_errno(err, -errno, "make the control socket");
    } else {
        vm->control = pair[0];
        fcntl(vm->control, F_SETFL, O_NONBLOCK); // ours only: envvm blocks until CONFIG comes
        const struct jail_request jail = {
            .control = pair[1],
            .entry = &entry,
            .uid = vm->uid,
            .file_bytes_max = file_bytes,
            .pids_max = r->pids_max,
            .host_name = vm->name,
            .title = title,
        };
        rc = jail_spawn(&p->jail, &jail, &vm->pid, err);
        close(pair[1]);
    }
    cgroup_entry_close(&entry);
    return rc;
}

// The filter is there before the tap is up, so no frame escapes it.
static int connect_nic(struct priv *p, const struct vm *vm, int *ret_tap, struct err *err)
{
    char tap[IFNAMSIZ];
    char bridge[IFNAMSIZ];
    name_tap(&p->instance, vms_slot(&p->vms, vm), tap);
    name_bridge(&p->instance, vm->net, bridge);
    _cleanup_close_ int fd = -1;
    int rc = net_tap_open(tap, &fd, err);
    if (rc == 0)
        rc = net_filter_add(&p->nf, &p->instance, tap, &vm->guest, p->nets[vm->net].subnet.gateway, err);
    if (rc == 0)
        rc = net_port_join(&p->rt, tap, bridge, &vm->guest, err);
    if (rc == 0)
        *ret_tap = take_fd(&fd);
    return rc;
}

static int send_config(const struct priv *p, const struct vm *vm, int tap, const struct privctl_spawn *r,
                       const int *fds, size_t n_fds, struct err *err)
{
    int all[2 + PRIVCTL_FDS_MAX] = {p->kvm.fd, tap};
    memcpy(all + 2, fds, n_fds * sizeof *fds);
    uint8_t datagram[CONFIG_HEADER + VMCTL_CONFIG_MAX];
    struct wire_writer w;
    wire_writer_init(&w, datagram, sizeof datagram);
    wire_write_u16(&w, VMCTL_CONFIG);
    wire_write_u16(&w, 0);
    wire_write_raw(&w, r->vm_config.data, r->vm_config.len);
    int rc = io_send_fds(vm->control, datagram, w.pos, all, n_fds + 2);
    return rc < 0 ? err_errno(err, rc, "send envvm its configuration") : 0;
}

static int start(struct priv *p, struct vm *vm, const struct privctl_spawn *r, const int *fds, size_t n_fds,
                 uint64_t file_bytes, struct err *err)
{
    // First the process: it enters its jail while this one makes its NIC.
    int rc = start_process(p, vm, r, file_bytes, err);
    _cleanup_close_ int tap = -1; // envvm's copy is the one that keeps the tap in being
    if (rc == 0)
        rc = connect_nic(p, vm, &tap, err);
    if (rc == 0)
        rc = send_config(p, vm, tap, r, fds, n_fds, err);
    return rc;
}

int spawn_vm(struct priv *p, const struct privctl_spawn *r, const int *fds, size_t n_fds, struct vm **ret,
             struct err *err)
{
    uint64_t file_bytes = 0;
    int rc = spawn_check(p, r, err);
    if (rc == 0)
        rc = spawn_check_fds(r->kind, fds, n_fds, &file_bytes, err);
    if (rc < 0)
        return rc;
    if (p->kvm.fd < 0)
        kvm_open(&p->kvm, KVM_PATH); // it may have come since
    if (p->kvm.fd < 0)
        return err_set(err, -ENODEV, "%s", p->kvm.detail);
    struct vm *vm = vms_reserve(&p->vms);
    if (!vm)
        return err_set(err, -EMFILE, "all %u places for VMs on this host are taken", VMS_MAX);
    fill_record(p, vm, r);
    rc = start(p, vm, r, fds, n_fds, file_bytes, err);
    if (rc == 0) {
        *ret = vm;
        return 0;
    }
    if (vm->pid > 0) {
        kill(vm->pid, SIGKILL);
        while (waitpid(vm->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    spawn_undo(p, vm, NULL);
    vms_release(&p->vms, vm);
    return rc;
}

int spawn_undo(struct priv *p, const struct vm *vm, struct err *err)
{
    char name[ID_TEXT_CAP];
    name_tap(&p->instance, vms_slot(&p->vms, vm), name);
    int first = net_filter_drop(&p->nf, &p->instance, name, err);
    // The tap went with its last descriptor, unless somebody made it persistent.
    int rc = net_link_remove(&p->rt, name, first ? NULL : err);
    if (first == 0 && rc != -ENODEV)
        first = rc;
    name_bridge(&p->instance, vm->net, name);
    rc = net_port_forget(&p->rt, name, vm->guest.ipv4, first ? NULL : err);
    if (first == 0)
        first = rc;
    id_format(&vm->id, name);
    rc = cgroup_remove(&p->cgroups, name, first ? NULL : err);
    return first ? first : rc;
}
