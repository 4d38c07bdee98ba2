// The cell's NIC and its IPv4 stack (lwIP): answers ARP and ICMP echo. The stack is set up at the first
// frame.
#pragma once

#include <stdbool.h>

// Gives the device its receive buffers.
void net_init(void);
// Serves the device: true when it had something.
bool net_poll(void);
