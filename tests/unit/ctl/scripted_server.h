// A server of envd's interface for tests of its client, whose answers a script gives: the names that are
// asked for say which. Called by envctl_world.c.
#pragma once

// Serves at that socket, never to return; appends a line to the file for each request. ready_fd is closed
// once it listens.
_Noreturn void scripted_server(const char *socket, const char *requests, int ready_fd);
