// File type bits of the Linux ABI. linux/stat.h hides them where glibc's headers are about, as in the unit
// tests.
#pragma once

#define MODE_TYPE      0170000u
#define MODE_SOCKET    0140000u
#define MODE_SYMLINK   0120000u
#define MODE_FILE      0100000u
#define MODE_DIRECTORY 0040000u
#define MODE_CHARACTER 0020000u
#define MODE_FIFO      0010000u
