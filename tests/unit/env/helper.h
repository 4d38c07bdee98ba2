// A socket that plays envpriv, and the sockets of the virtual machines that it "spawns", whose envvm and
// agent the test plays. On the event loop of api_fixture.h.
#pragma once

#include "api_fixture.h"

#include "proto/privctl.h"
#include "proto/vmctl.h"

#define HELPER_VMS 16

struct helper_vm {
    struct id id;
    char tenant[NAME_CAP], name[NAME_CAP];
    int control; // envvm's end, -1 when closed
    int daemon;  // envd's end, kept as envpriv keeps it
    int agent;   // the agent's end of the stream, -1: not connected
    bool exited, forgotten, killed;
    int32_t wait_status;
};

struct helper {
    struct daemon *d;
    struct event *accepting, *reading;
    int listener, sock; // -1: not connected
    struct helper_vm vms[HELPER_VMS];
    size_t n_vms;
    const char *kvm;            // what it says of the host; NULL: "hw"
    struct privctl_spawn spawn; // the last one, without its configuration
    size_t n_spawn_fds;
    bool refuse_spawn, refuse_net, silent, stubborn; // stubborn: KILL does not help
    unsigned nets_up, nets_down, kills;
};

void helper_start(struct helper *h, struct daemon *d); // listens where envd connects
void helper_drop(struct helper *h);                    // the connection only
void helper_stop(struct helper *h);

// Runs the loop until the environment is in the state; fails the test after 30 s.
void helper_until(struct helper *h, const char *environment, const char *state);
void helper_run_ms(struct helper *h, unsigned ms);
// The newest virtual machine of the environment.
struct helper_vm *helper_vm(struct helper *h, const char *environment);

// envvm's part.
void vm_state(struct helper_vm *vm, enum vmctl_state state, enum vmctl_cause cause, int32_t code,
              const char *reason);
void vm_stats(struct helper_vm *vm, const struct vmctl_stats *stats);
void vm_connect(struct helper_vm *vm); // a stream to the agent's port; vm->agent is the other end
void vm_hello(struct helper_vm *vm);   // and what the agent says first
void vm_hello_with(struct helper_vm *vm, uint32_t capabilities);
void vm_pass_stream(struct helper_vm *vm, int fd); // fd as a stream to the agent's port; takes it
int vm_stream(struct helper_vm *vm);               // another stream to the agent's port; the caller's
int vm_console(struct helper_vm *vm);              // the answer to CONSOLE; its other end is the caller's
void vm_no_console(struct helper_vm *vm);
void vm_exit(struct helper *h, struct helper_vm *vm, int32_t wait_status); // the process is reaped
// The type of the newest order on the control socket, 0 when there was none.
enum vmctl_type vm_order(struct helper_vm *vm);
