// The agent inside the cell: ties agent/core to the vsock link, to the program's AF_UNIX connections and to
// the kernel's clock, heap and log. Called by drivers/vsock.c (agent_on_*), fs/agent_socket.c and the idle
// loop.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Begins to connect to the host; the agent itself is made when the host answers or the program connects.
void agent_init(void);

// The link, from the vsock driver.
void agent_on_host_up(void);
void agent_on_host_down(void);
void agent_on_host_writable(void);
size_t agent_on_host_data(const void *data, size_t n); // returns how much was taken

// The program's connections. The socket's side is what agent.c calls back: see fs/agent_socket.h.
int agent_connect_client(void *socket); // a number, or -ECONNREFUSED, -ENOMEM
size_t agent_write_from_client(int client, const void *data, size_t n);
bool agent_client_takes_input(int client);
void agent_client_has_room(int client);
void agent_disconnect_client(int client);

bool agent_run_timers(uint64_t now_ns); // true when one was due
uint64_t agent_next_timer_ns(void);
// Before its files are closed. What it held it is not said to give back: the host knows by the end of the
// link, and would only deliver it once more before.
void agent_program_ended(void);
// Before the environment ends: sends what is to be sent, within limit_ns.
void agent_finish(uint64_t limit_ns);
