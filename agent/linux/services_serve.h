// Serving a services folder, as a program of the agent's. Called by services.c in a process of its own.
//
//   FOLDER/SUBJECT            serves messages to this environment with that subject
//   FOLDER/SERVICE/SUBJECT    registers :SERVICE, and serves messages to it with that subject
//   …/@default                serves what has no file of its own
//
// The body is on standard input; ENV_FROM, ENV_TO, ENV_SUBJECT, ENV_ID, ENV_KIND, ENV_CONTENT_TYPE,
// ENV_CORRELATION, ENV_EXPIRES_MS and ENV_HEADER_<NAME> say the rest. Exit status 0: processed, and to a call
// standard output is the reply. 100: given up, never delivered again, no reply. Anything else, or SERVE_MS
// gone by: not processed, delivered again, later each time.
#pragma once

#define SERVE_RUNNING_MAX 8     // at once
#define SERVE_MS          60000 // one of them

// Until the agent goes away (1) or the environment ends (0).
int services_serve(const char *folder);
