// What the stories about envpriv share: a real envpriv on a temporary folder in a network namespace of its
// own, and an envd's end of the conversation. Failures end the test (cmocka).
#pragma once

#include "testing.h"

#include <stdbool.h>
#include <sys/types.h>

#include "probe.h"
#include "proto/privctl.h"

#define HARNESS_GATEWAY 0x0a630101u // 10.99.1.1/24, network 1
#define HARNESS_PREFIX  24
#define HARNESS_NET     1
#define LOG_BYTES       (8192u)
#define ANSWER_FDS      2

struct answer {
    struct privctl_message m;
    uint8_t bytes[4096];
    int fds[ANSWER_FDS];
    size_t n_fds;
};

struct host {
    pid_t pid; // envpriv
    char folder[64];
    char envvm[512];
    int sock; // as envd
    uint32_t next_tag;
    unsigned n_exits; // EXITED events that came
    struct id last_exit;
    int last_wait_status;
};

struct guest {
    struct id vm;
    pid_t pid;
    uint32_t uid;
    uint32_t ipv4;
    uint8_t mac[6];
    int control;
};

// The envpriv instance of this process: other runs of the same story on this machine have others.
extern char harness_instance[PRIVCTL_INSTANCE_MAX + 1];

// Once per process: a network namespace of its own, so that nothing here meets the machine's network.
int harness_enter(void);
// Starts envpriv with the probe in envvm's place, connects as envd, says HELLO.
void host_start(struct host *h);
// The same with another program, or without connecting.
void host_launch(struct host *h, const char *envvm);
// In a child: becomes envpriv.
_Noreturn void host_execute(const char *folder, const char *envvm, const char *user);
int host_connect(const struct host *h);
void host_hello(struct host *h, int sock);
// Ends envpriv with the signal; returns its wait status. Closes the connection, removes the folder when
// remove.
int host_end(struct host *h, int signal, bool remove);

// Sends a request and takes answers until the one with its tag; EXITED events are counted on the way.
void host_ask(struct host *h, struct privctl_message *m, const int *fds, size_t n_fds, struct answer *ret);
void host_ask_ok(struct host *h, struct privctl_message *m);
// Expects FAIL with this errno, and words in its text.
void host_ask_fails(struct host *h, struct privctl_message *m, const int *fds, size_t n_fds, int error,
                    const char *words);
void host_receive(struct host *h, int sock, struct answer *ret);
void host_await_exit(struct host *h, const struct id *vm);
void host_net_up(struct host *h, uint16_t net, uint32_t gateway);

// A SPAWN request with good values for guest number n of the network, and its descriptors (kernel, program,
// log).
void guest_request(struct privctl_message *m, unsigned n);
void guest_files(int fds[3]);
void guest_start(struct host *h, struct guest *g, unsigned n);
void guest_start_with(struct host *h, struct guest *g, struct privctl_message *m);
// KILL, await EXITED, FORGET.
void guest_end(struct host *h, struct guest *g);
// Sends a command to the probe and takes its answer.
size_t guest_ask(const struct guest *g, char command, const void *data, size_t len, void *ret, size_t cap);
int32_t guest_ask_number(const struct guest *g, char command, const void *data, size_t len);

// How many kernel objects with the instance's names there are: links, tables, cgroups.
unsigned leftovers(void);
