// The event loop of loop.h, one step at a time: fuzz targets drive a device's sockets and timers without a
// thread.
#pragma once

#include "common/loop.h"

// Calls back for what is ready now, once.
void step_loop_round(struct loop *loop);
