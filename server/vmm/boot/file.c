// Owns the reading of boot files. Called by boot/cell and boot/linux.
#include "boot/file.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

// A file that shrinks under us is an error here.
int boot_file_read(int fd, void *out, size_t len, uint64_t offset, const char *what, struct err *err)
{
    char *p = out;
    while (len > 0) {
        ssize_t n = pread(fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, -errno, "read the %s", what);
        if (n == 0)
            return err_set(err, -ENODATA, "the %s was cut off while it was read", what);
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

int boot_file_length(int fd, const char *what, uint64_t *ret, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_errno(err, -errno, "look at the %s", what);
    if (!S_ISREG(st.st_mode))
        return err_set(err, -EINVAL, "the %s is not a regular file", what);
    *ret = (uint64_t)st.st_size;
    return 0;
}

int boot_file_copy(const struct guest_memory *mem, int fd, uint64_t gpa, uint64_t offset, uint64_t len,
                   const char *what, struct err *err)
{
    if (len == 0)
        return 0;
    void *to = guest_memory_at(mem, gpa, len);
    if (!to)
        return err_set(err, -ENOMEM, "the %s does not fit into memory", what);
    return boot_file_read(fd, to, len, offset, what, err);
}
