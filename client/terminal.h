// The user's terminal and signals while a session runs: raw mode that is always undone, the size, signals as
// a descriptor to poll. Called by the verbs exec, console and top.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Puts fd into raw mode: every key is a byte. At exit of the process, and by terminal_restore(), it is as it
// was before; signals that would end the process must be blocked (terminal_signals()) until then. 0 or
// -errno.
int terminal_raw(int fd);
// The same, but for the keys only: none waits for the end of its line, none is shown.
int terminal_keys(int fd);
void terminal_restore(void);
// After SIGCONT: a shell may have changed the mode while this process was stopped.
void terminal_again(void);
// The size of the terminal at fd; 80 by 24 when it is none or does not say.
void terminal_size(int fd, uint16_t *ret_cols, uint16_t *ret_rows);
// Blocks what is to be forwarded (HUP, INT, QUIT, TERM, USR1, USR2), WINCH and CONT, and ignores PIPE.
// Returns a descriptor for terminal_next_signal(), or -errno.
int terminal_signals(void);
// The next signal that came, or 0.
int terminal_next_signal(int fd);
