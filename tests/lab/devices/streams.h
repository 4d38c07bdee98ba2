// Serves a guest's vsock connections for vm.c.
#pragma once

// Serves the connection until it ends, on a thread of its own. fd is the callee's now.
void streams_serve(int fd);
