// Runs the envctl executable against a scripted server, a process of its own, and keeps what it says. Called
// by envctl_*_test.c.
#include "envctl_world.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/io.h"
#include "scripted_server.h"

void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    int fds[2];
    char byte;
    snprintf(w->dir, sizeof w->dir, "/tmp/envd-ctl-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->socket, sizeof w->socket, "%s/s", w->dir);
    snprintf(w->requests, sizeof w->requests, "%s/requests", w->dir);
    snprintf(w->file, sizeof w->file, "%s/file", w->dir);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    w->server = fork();
    assert_true(w->server >= 0);
    if (w->server == 0)
        scripted_server(w->socket, w->requests, fds[1]);
    close(fds[1]);
    assert_int_equal(read(fds[0], &byte, 1), 0); // closed: it listens
    close(fds[0]);
    *state = w;
    return 0;
}

void stop_server(struct world *w)
{
    int status;
    if (w->server <= 0)
        return;
    kill(w->server, SIGKILL);
    waitpid(w->server, &status, 0);
    w->server = 0;
}

int teardown(void **state)
{
    struct world *w = *state;
    stop_server(w);
    unlink(w->socket);
    unlink(w->requests);
    unlink(w->file);
    rmdir(w->dir);
    free(w);
    return 0;
}

static void read_all(int fd, char *text)
{
    size_t len = 0;
    ssize_t n;
    lseek(fd, 0, SEEK_SET);
    while ((n = read(fd, text + len, OUTPUT_CAP - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
}

static int temporary(void)
{
    char path[] = "/tmp/envd-ctl-out-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

int run_to(struct world *w, int out_fd, const char *const *args, size_t n)
{
    const char *argv[32] = {"envctl"};
    assert_true(n < 31);
    for (size_t i = 0; i < n; i++)
        argv[i + 1] = args[i];
    int out = out_fd < 0 ? temporary() : out_fd, err = temporary(), status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
        dup2(out, STDOUT_FILENO);
        dup2(err, STDERR_FILENO);
        if (!getenv("ENVCTL_SOCKET"))
            setenv("ENVCTL_SOCKET", w->socket, 1);
        execv(ENVCTL, (char *const *)argv);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (out_fd < 0)
        read_all(out, w->out);
    read_all(err, w->err);
    close(out);
    close(err);
    return WEXITSTATUS(status);
}

void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" has no \"%s\"", text, part);
}

const char *requests_of(struct world *w)
{
    static char text[OUTPUT_CAP];
    ssize_t n = io_read_file(w->requests, text, sizeof text - 1);
    assert_true(n >= 0);
    text[n] = '\0';
    return text;
}
