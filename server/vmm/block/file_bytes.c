// Owns how large a disk's file is. Called by the back ends and whoever makes overlays.
#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "block/raw.h"

int64_t block_file_bytes(int fd)
{
    struct stat st;
    uint64_t bytes;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISREG(st.st_mode))
        return st.st_size;
    if (!S_ISBLK(st.st_mode))
        return -EINVAL;
    return ioctl(fd, BLKGETSIZE64, &bytes) < 0 ? -errno : (int64_t)bytes;
}
