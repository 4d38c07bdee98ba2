// The state folder: made when absent, and locked, so that no two daemons write it. Called by main.
#pragma once

#include "common/err.h"

// Makes the folder when it is absent and takes its lock. The lock's descriptor, the caller's: the lock lasts
// as long as it is open. -EBUSY: another envd has it (err says which); others: what the file system says.
int state_folder_lock(const char *folder, struct err *err);
