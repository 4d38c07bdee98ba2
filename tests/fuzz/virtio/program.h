// Fuzz inputs as little programs that a hostile guest, and a host behind the device, could run. All integers
// are little endian; what is missing at the end of the input reads as zero.
//
//   op      arguments
//   WRITE   u16 gpa, u8 n, n bytes                          guest memory
//   PUSH    u8 queue, u8 n, n * (u8 writable, u16 gpa, u16 len)   a chain (n is 1..8), made available
//   DATA    u8 queue, u8 n, n bytes                         a chain of one readable buffer with these bytes
//   PROCESS u8 queue                                        what a doorbell does
//   ROUND                                                   the event loop, once
//   MMIO    u16 offset, u8 len, u64 value                   a write; len is 1, 2, 4 or 8
//   READ    u16 offset, u8 len                              a read
//   HOST    u8 what, u8 n, n bytes                          the target's own: the world behind the device
//   RESTART                                                 reset, cleared rings, a full initialization, with
//                                                           the ring's and all other features every other
//                                                           time
//   TABLE   as PUSH                                         the same chain in an indirect table
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "driver.h"

enum program_op {
    PROGRAM_WRITE,
    PROGRAM_PUSH,
    PROGRAM_DATA,
    PROGRAM_PROCESS,
    PROGRAM_ROUND,
    PROGRAM_MMIO,
    PROGRAM_READ,
    PROGRAM_HOST,
    PROGRAM_RESTART,
    PROGRAM_TABLE,
    PROGRAM_OP_COUNT
};

// Runs the program against d's device, which was started with the features of its kind. host may be NULL.
void program_run(struct driver *d, const uint8_t *data, size_t size,
                 void (*host)(uint8_t what, const uint8_t *bytes, uint8_t n));
