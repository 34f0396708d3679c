// node-addon-api as this addon wants it. A call may come while the environment ends (worker.terminate()): then no
// exception can be thrown, and failing to throw one must not abort the process.
#pragma once

#ifndef NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#endif
#include <napi.h>
