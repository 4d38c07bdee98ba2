// A host for one environment without a virtual machine: the whole daemon, with envpriv and envvm played. What
// connects to a Unix socket is the guest's vsock; the console is a shell. Runs a command until it ends.
//
//     sessions_host COMMAND...     with ENVCTL_SOCKET and GUEST_SOCKET in its environment
#include "helper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define E "/v1/tenants/acme/environments/web"

static char **command;

static int listen_for_guest(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static pid_t run(char *const *argv, int console)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    if (console >= 0) {
        dup2(console, STDIN_FILENO);
        dup2(console, STDOUT_FILENO);
        dup2(console, STDERR_FILENO);
    }
    execvp(argv[0], argv);
    perror(argv[0]);
    _exit(125);
}

static void start_environment(struct daemon *d, struct helper *h)
{
    char path[160];
    helper_start(h, d);
    snprintf(path, sizeof path, "%s/images/%s", d->f->dir, DIGEST_A + 7);
    fclose(fopen(path, "w"));
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    make_environment(d, "acme", "off");
    while (!manager_helper_up(d->manager))
        helper_run_ms(h, 5);
    call_ok(d, 202, "POST", E "/start", NULL);
    helper_until(h, "acme/web", "booting");
}

// What a virtual machine would do between two turns of the loop.
static void be_the_machine(struct helper_vm *vm, int guests)
{
    static char name[] = "sh";
    char *const shell[] = {name, NULL};
    int fd = accept4(guests, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        vm_pass_stream(vm, fd);
    if (vm_order(vm) != VMCTL_CONSOLE)
        return;
    fd = vm_console(vm);
    run(shell, fd);
    close(fd);
}

static void the_command_succeeds(void **state)
{
    struct daemon *d = *state;
    struct helper h = {0};
    char guest[108];
    int status = 0;
    start_environment(d, &h);
    snprintf(guest, sizeof guest, "%s/guest.sock", d->f->dir);
    int guests = listen_for_guest(guest);
    setenv("ENVCTL_SOCKET", d->socket, 1);
    setenv("GUEST_SOCKET", guest, 1);
    pid_t pid = run(command, -1);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        event_base_loop(d->f->base, EVLOOP_NONBLOCK);
        be_the_machine(helper_vm(&h, "acme/web"), guests);
        usleep(200);
    }
    close(guests);
    daemon_stop(d);
    helper_stop(&h);
    daemon_start(d);
    assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_command_succeeds, daemon_setup, daemon_teardown),
    };
    if (argc < 2)
        return 2;
    command = argv + 1;
    return cmocka_run_group_tests_name("sessions", tests, NULL, NULL);
}
