// As much of an API client as a stop-watch needs: no libraries between the clock and the socket. For the
// benches only.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct api_conn {
    int fd;
    size_t len; // of what was read
    char data[65536];
};

// Connects to envd's Unix socket, or ends the program.
void api_open(struct api_conn *c, const char *socket_path);
void api_close(struct api_conn *c);
// Sends a request without a body.
void api_send(struct api_conn *c, const char *method, const char *path);
// Reads a whole reply; its body is NUL-terminated and valid until the next one. The status.
int api_reply(struct api_conn *c, const char **ret_body);
// Reads only the head of a reply. The status.
int api_reply_head(struct api_conn *c);
// Waits for at least one byte after the head. False: the connection ended.
bool api_wait_byte(struct api_conn *c);
