// PID 1 of the Linux guests that tests/bench measures, the same in every monitor: says that user space runs,
// loads the kernel's modules in the order that tests/lab/guest-initrd wrote, and becomes the program named
// after
// "--" on the kernel's command line. Small and static, so that what is measured is the monitor and the
// kernel.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char *text)
{
    if (write(STDOUT_FILENO, text, strlen(text)) < 0)
        _exit(1);
}

static void load(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)) {
        say("guest: cannot load ");
        say(path);
        say("\n");
    }
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    char path[256];
    say("guest: userspace\n");
    if (mount("dev", "/dev", "devtmpfs", 0, "") < 0 || mount("proc", "/proc", "proc", 0, "") < 0 ||
        mount("sys", "/sys", "sysfs", 0, "") < 0)
        say("guest: cannot mount\n");
    FILE *order = fopen("/modules/order", "re");
    while (order && fgets(path, sizeof path, order)) {
        path[strcspn(path, "\n")] = '\0';
        load(path);
    }
    if (order)
        fclose(order);
    say("guest: modules\n");
    if (argc > 1)
        execv(argv[1], argv + 1);
    say("guest: no program to run\n");
    for (;;)
        pause();
}
