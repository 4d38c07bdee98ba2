// Owns the list of capabilities that envpriv needs. Called by main.c and jail.c.
#include "caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/checked.h"

static const unsigned kept[] = {
    CAP_NET_ADMIN,  // bridges, taps, neighbours, packet filters
    CAP_SYS_ADMIN,  // new namespaces for envvm, its host name
    CAP_SYS_CHROOT, // setns to the mount namespace with the empty root
    CAP_SETUID,     // envvm's own uid; touching the run folder with its owner's rights only
    CAP_SETGID,     // envvm's own gid, no supplementary groups
    CAP_SETPCAP,    // emptying envvm's bounding set
    CAP_KILL,       // ending an envvm, which has another uid
};

// Kept, but asleep until the end: removing the instance's group from the root of a cgroup hierarchy, which is
// a folder that nobody may write by its mode.
#define KEPT_FOR_THE_END CAP_DAC_OVERRIDE

static bool is_kept(unsigned cap)
{
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++)
        if (kept[i] == cap)
            return true;
    return cap == KEPT_FOR_THE_END;
}

static uint64_t working_set(void)
{
    uint64_t set = 0;
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++)
        set |= 1ull << kept[i];
    return set;
}

// Nothing inheritable, so nothing ambient either.
static int set_all(uint64_t effective, uint64_t permitted)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
        {.effective = (uint32_t)effective, .permitted = (uint32_t)permitted},
        {.effective = (uint32_t)(effective >> 32), .permitted = (uint32_t)(permitted >> 32)},
    };
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int caps_keep_needed(struct err *err)
{
    // Up to the last one that this kernel knows (EINVAL beyond), which may be more than the headers do.
    for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (!is_kept(cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return err_errno(err, -errno, "drop capability %u", cap);
    int rc = set_all(working_set(), working_set() | 1ull << KEPT_FOR_THE_END);
    return rc < 0 ? err_errno(err, rc, "keep the capabilities that envpriv needs: run it as root with them")
                  : 0;
}

void caps_wake_for_the_end(void)
{
    uint64_t set = working_set() | 1ull << KEPT_FOR_THE_END;
    set_all(set,
            set); // fails only before caps_keep_needed(), for a root that lacks some; what follows says so
}

int caps_drop_bounding(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++)
        if (prctl(PR_CAPBSET_DROP, kept[i], 0, 0, 0) < 0)
            return -errno;
    return prctl(PR_CAPBSET_DROP, KEPT_FOR_THE_END, 0, 0, 0) < 0 ? -errno : 0;
}

int caps_clear(void)
{
    return set_all(0, 0);
}
