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

static bool is_kept(unsigned cap)
{
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++)
        if (kept[i] == cap)
            return true;
    return false;
}

// The same set as effective and permitted; nothing inheritable, so nothing ambient either.
static int set_all(uint64_t set)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
        {.effective = (uint32_t)set, .permitted = (uint32_t)set},
        {.effective = (uint32_t)(set >> 32), .permitted = (uint32_t)(set >> 32)},
    };
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int caps_keep_needed(struct err *err)
{
    // Up to the last one that this kernel knows (EINVAL beyond), which may be more than the headers do.
    for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (!is_kept(cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return err_errno(err, -errno, "drop capability %u", cap);
    uint64_t set = 0;
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++)
        set |= 1ull << kept[i];
    int rc = set_all(set);
    return rc < 0 ? err_errno(err, rc, "keep the capabilities that envpriv needs: run it as root with them")
                  : 0;
}

int caps_drop_bounding(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++)
        if (prctl(PR_CAPBSET_DROP, kept[i], 0, 0, 0) < 0)
            return -errno;
    return 0;
}

int caps_clear(void)
{
    return set_all(0);
}
