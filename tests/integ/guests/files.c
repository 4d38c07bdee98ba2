// Files: the read-only archive (tests/integ/cell-programs makes it), /tmp and /dev in memory, descriptors.
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"

static void check_archive(void)
{
    char text[64] = "", target[64] = "";
    struct stat st;
    int fd = open("/etc/greeting", O_RDONLY);
    CHECK(fd == 3);
    CHECK(read(fd, text, sizeof text) == 14 && !memcmp(text, "hello, archive", 14));
    CHECK(pread(fd, text, 5, 7) == 5 && !memcmp(text, "archi", 5));
    CHECK(lseek(fd, -7, SEEK_END) == 7 && read(fd, text, 9) == 7);
    CHECK(fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 14 && (st.st_mode & 0777) == 0640);
    CHECK(FAILS(write(fd, "x", 1), EBADF));
    CHECK(close(fd) == 0);
    CHECK(FAILS(open("/etc/greeting", O_RDWR), EROFS));
    CHECK(FAILS(open("/etc/new", O_RDWR | O_CREAT, 0644), EROFS));
    CHECK(FAILS(unlink("/etc/greeting"), EROFS));
    CHECK(FAILS(open("/etc/none", O_RDONLY), ENOENT));
    CHECK(FAILS(open("/etc/greeting/x", O_RDONLY), ENOTDIR));
    CHECK(FAILS(open("/etc/greeting/", O_RDONLY), ENOTDIR));
    CHECK(readlink("/etc/link", target, sizeof target) == 8 && !memcmp(target, "greeting", 8));
    CHECK(stat("/etc/link", &st) == 0 && st.st_size == 14);
    CHECK(lstat("/etc/link", &st) == 0 && S_ISLNK(st.st_mode));
    CHECK(FAILS(open("/etc/link", O_RDONLY | O_NOFOLLOW), ELOOP));
    CHECK(FAILS(open("/etc/loop", O_RDONLY), ELOOP));
    CHECK(stat("/deep/er/dir/../../er/./dir//file", &st) == 0 && st.st_size == 3);
    CHECK(stat("/hard1", &st) == 0 && st.st_size == 9);
    CHECK(stat("/hard2", &st) == 0 && st.st_size == 9);
    CHECK(access("/bin/run", X_OK) == 0 && FAILS(access("/etc/greeting", X_OK), EACCES));
    CHECK(FAILS(access("/etc/greeting", W_OK), EROFS));
}

static void check_directory(void)
{
    int n_files = 0, n_dots = 0;
    DIR *dir = opendir("/many");
    CHECK(dir != NULL);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        n_dots += e->d_name[0] == '.';
        n_files += e->d_name[0] != '.' && e->d_type == DT_REG;
    }
    CHECK(n_files == 300 && n_dots == 2);
    rewinddir(dir);
    CHECK(readdir(dir) != NULL);
    closedir(dir);
    char cwd[PATH_MAX];
    CHECK(getcwd(cwd, sizeof cwd) && !strcmp(cwd, "/"));
    CHECK(chdir("/deep/er") == 0 && getcwd(cwd, sizeof cwd) && !strcmp(cwd, "/deep/er"));
    struct stat st;
    CHECK(stat("dir/file", &st) == 0 && stat("../er", &st) == 0 && S_ISDIR(st.st_mode));
    int fd = open("/many", O_RDONLY | O_DIRECTORY);
    CHECK(openat(fd, "file7", O_RDONLY) >= 0 && FAILS(openat(fd, "file999", O_RDONLY), ENOENT));
    CHECK(FAILS(chdir("/etc/greeting"), ENOTDIR) && chdir("/") == 0);
}

static void check_tmp(void)
{
    struct stat st;
    char text[32] = "";
    int fd = open("/tmp/a", O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0 && FAILS(open("/tmp/a", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST));
    CHECK(write(fd, "0123456789", 10) == 10 && pwrite(fd, "xy", 2, 3) == 2);
    CHECK(pread(fd, text, 10, 0) == 10 && !memcmp(text, "012xy56789", 10));
    CHECK(pwrite(fd, "end", 3, 100000) == 3 && fstat(fd, &st) == 0 && st.st_size == 100003);
    CHECK(pread(fd, text, 4, 50000) == 4 && !memcmp(text, "\0\0\0\0", 4));
    CHECK(ftruncate(fd, 5) == 0 && ftruncate(fd, 10) == 0);
    CHECK(pread(fd, text, 10, 0) == 10 && !memcmp(text, "012xy\0\0\0\0\0", 10));
    CHECK(mkdir("/tmp/d", 0755) == 0 && FAILS(mkdir("/tmp/d", 0755), EEXIST));
    CHECK(rename("/tmp/a", "/tmp/d/b") == 0 && FAILS(stat("/tmp/a", &st), ENOENT));
    CHECK(stat("/tmp/d/b", &st) == 0 && st.st_size == 10);
    CHECK(FAILS(rmdir("/tmp/d"), ENOTEMPTY) && FAILS(rename("/tmp/d", "/tmp/d/e"), EINVAL));
    CHECK(symlink("d/b", "/tmp/s") == 0 && stat("/tmp/s", &st) == 0 && st.st_size == 10);
    CHECK(unlink("/tmp/d/b") == 0 && rmdir("/tmp/d") == 0 && FAILS(stat("/tmp/s", &st), ENOENT));
    CHECK(pread(fd, text, 3, 0) == 3); // removed, and still open
    CHECK(close(fd) == 0 && FAILS(close(fd), EBADF));
    FILE *f = fopen("/tmp/text", "w");
    CHECK(f != NULL && fprintf(f, "line %d\n", 1) == 7 && fclose(f) == 0);
    fd = open("/tmp/text", O_WRONLY | O_APPEND);
    CHECK(write(fd, "line 2\n", 7) == 7 && close(fd) == 0);
    CHECK(stat("/tmp/text", &st) == 0 && st.st_size == 14 && (st.st_mode & 0777) == 0644);
    CHECK(chmod("/tmp/text", 0400) == 0 && stat("/tmp/text", &st) == 0 && (st.st_mode & 0777) == 0400);
    // A file of the archive below /tmp can be changed: it is copied into memory then.
    fd = open("/tmp/given", O_RDWR);
    CHECK(fd >= 0 && pwrite(fd, "G", 1, 0) == 1 && pread(fd, text, 5, 0) == 5 && !memcmp(text, "Given", 5));
}

static void check_mapping(void)
{
    int fd = open("/etc/greeting", O_RDONLY);
    char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(p != MAP_FAILED && !memcmp(p, "hello, archive", 14) && p[14] == 0 && p[8191] == 0);
    p[0] = 'J';
    char c;
    CHECK(pread(fd, &c, 1, 0) == 1 && c == 'h' && munmap(p, 8192) == 0);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED && errno == ENODEV);
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 99, 0) == MAP_FAILED && errno == EBADF);
    CHECK(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL);
}

static void check_devices(void)
{
    char text[16] = "xxxxxxxxxxxxxxx";
    struct stat st;
    CHECK(read(open("/dev/null", O_RDWR), text, 8) == 0 && write(open("/dev/null", O_WRONLY), text, 8) == 8);
    CHECK(read(open("/dev/zero", O_RDONLY), text, 8) == 8 && text[0] == 0 && text[7] == 0 && text[8] == 'x');
    CHECK(FAILS(write(open("/dev/full", O_WRONLY), "x", 1), ENOSPC));
    CHECK(read(open("/dev/urandom", O_RDONLY), text, 8) == 8);
    CHECK(FAILS(open("/dev/tty", O_RDWR), ENXIO));
    CHECK(stat("/dev/null", &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0x103);
    CHECK(write(open("/dev/stdout", O_WRONLY), "through /dev/stdout\n", 20) == 20);
    CHECK(stat("/run/env/agent.sock", &st) == 0 && S_ISSOCK(st.st_mode));
}

static void check_descriptors(void)
{
    char first[] = "wri", last[] = "tev\n";
    struct iovec v[3] = {{first, 3}, {NULL, 0}, {last, 4}};
    int fd = dup(1), n = -1;
    CHECK(fd > 2 && writev(fd, v, 3) == 7);
    CHECK(dup2(fd, 900) == 900 && dup2(fd, fd) == fd && FAILS(dup3(fd, fd, 0), EINVAL));
    CHECK(fcntl(900, F_GETFD) == 0 && fcntl(900, F_SETFD, FD_CLOEXEC) == 0 && fcntl(900, F_GETFD) == 1);
    CHECK(fcntl(fd, F_DUPFD, 500) == 500 && close(500) == 0);
    CHECK(FAILS(dup2(fd, 5000), EBADF) && FAILS(dup2(77, 78), EBADF));
    CHECK(FAILS(ioctl(1, TIOCGWINSZ, &n), ENOTTY) && !isatty(1) && !isatty(0));
    CHECK(FAILS(lseek(1, 0, SEEK_SET), ESPIPE));
    int many = 0;
    while (dup(fd) >= 0)
        many++;
    CHECK(errno == EMFILE && many > 900);
    for (int i = 3; i < 1024; i++)
        close(i);
    int in = open("/etc/greeting", O_RDONLY), out = open("/tmp/copy", O_RDWR | O_CREAT, 0600);
    CHECK(sendfile(out, in, NULL, 100) == 14);
    CHECK(sendfile(out, in, NULL, 100) == 0);
    CHECK(lseek(out, 0, SEEK_END) == 14);
    struct statfs fs;
    CHECK(statfs("/tmp", &fs) == 0 && fs.f_bfree > 0);
}

// A full /tmp is an error for who writes, and freeing it makes room again.
static void check_full(void)
{
    static char block[65536];
    int fd = open("/tmp/big", O_RDWR | O_CREAT, 0600);
    ssize_t n;
    size_t total = 0;
    memset(block, 'b', sizeof block);
    while ((n = write(fd, block, sizeof block)) > 0)
        total += (size_t)n;
    CHECK(n == -1 && errno == ENOSPC && total > 1 << 20);
    CHECK(pread(fd, block, 1, (off_t)total - 1) == 1 && block[0] == 'b');
    CHECK(close(fd) == 0 && unlink("/tmp/big") == 0);
    fd = open("/tmp/again", O_RDWR | O_CREAT, 0600);
    CHECK(write(fd, block, sizeof block) == sizeof block);
}

int main(void)
{
    check_archive();
    check_directory();
    check_tmp();
    check_mapping();
    check_devices();
    check_descriptors();
    check_full();
    return check_done("files");
}
