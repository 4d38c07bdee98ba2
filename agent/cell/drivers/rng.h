// virtio-rng: stirs the kernel's random state. Asked for the first time when the program asks for random
// bytes.
#pragma once

#include <stdbool.h>

// Requests entropy unless a request is under way or was made within the last second; does nothing without a
// device.
void rng_request(void);
bool rng_poll(void);
