// Ends badly, in the way that argv[1] names; or does what is not supported.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void fault_null(void)
{
    unsigned long address = 8;
    __asm__ volatile("movl $1, (%0)" : : "r"(address) : "memory");
}

static void fault_wild(void)
{
    *(volatile int *)0x7ffffffff000 = 1;
}

static void fault_illegal(void)
{
    __asm__ volatile("ud2");
}

static void fault_divide(void)
{
    __asm__ volatile("divl %0" : : "r"(0), "a"(1), "d"(0));
}

static void fault_privileged(void)
{
    __asm__ volatile("hlt");
}

static void fault_port(void)
{
    __asm__ volatile("outb %%al, %%dx" : : "a"(0), "d"(0x3f8));
}

static void fault_exit(void)
{
    syscall(SYS_exit_group, 300); // the low byte counts
}

static void fault_term(void)
{
    raise(SIGTERM);
}

static void handler(int signal)
{
    (void)signal;
}

static void fault_signals(void)
{
    signal(SIGUSR1, SIG_IGN);
    raise(SIGUSR1);
    raise(SIGCHLD);
    signal(SIGUSR2, handler);
    raise(SIGUSR2);
    printf("alive after ignored signals\n");
}

// Twice each: the kernel's line comes once.
static void fault_unsupported(void)
{
    for (int i = 0; i < 2; i++) {
        errno = 0;
        long rc = syscall(SYS_clone3, 0, 0);
        printf("clone3 %ld %s\n", rc, strerror(errno));
        errno = 0;
        rc = fork();
        printf("fork %ld %s\n", rc, strerror(errno));
        errno = 0;
        rc = syscall(5000);
        printf("5000 %ld %s\n", rc, strerror(errno));
    }
    int inet = socket(AF_INET, SOCK_STREAM, 0);
    printf("inet %d %s\n", inet, strerror(errno));
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/tmp/nobody"};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    int rc = connect(s, (struct sockaddr *)&a, sizeof a);
    printf("unix %d %s\n", rc, strerror(errno));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } faults[] = {
        {"null", fault_null},
        {"wild", fault_wild},
        {"illegal", fault_illegal},
        {"divide", fault_divide},
        {"port", fault_port},
        {"privileged", fault_privileged},
        {"abort", abort},
        {"exit", fault_exit},
        {"term", fault_term},
        {"signals", fault_signals},
        {"unsupported", fault_unsupported},
    };
    setvbuf(stdout, NULL, _IONBF, 0);
    printf("about to\n");
    for (size_t i = 0; argc > 1 && i < sizeof faults / sizeof faults[0]; i++)
        if (!strcmp(argv[1], faults[i].name))
            faults[i].run();
    return 0;
}
