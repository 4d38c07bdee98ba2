// The program's end of a connection to the agent, AGENT_SOCKET_PATH: a stream socket.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct file;

// A new, unconnected AF_UNIX stream socket, or NULL without memory. The caller's reference.
struct file *agent_socket_new(void);
bool agent_socket_is(const struct file *file);
bool agent_socket_is_connected(const struct file *file);
// 0, or -EISCONN, -ECONNREFUSED, -ENOMEM.
int agent_socket_connect(struct file *file);
int agent_socket_shutdown(struct file *file, bool read, bool write);

// From agent.c. Takes what fits.
size_t agent_socket_deliver(void *socket, const void *data, size_t n);
// The agent closed the connection: what was delivered can still be read.
void agent_socket_on_closed(void *socket);
