// process.exit() ends the main thread with exit(): no cleanup hook runs, but destructors of static objects do, while
// this library's threads still compile or run with them (tables of candidates, what the host has). So none is ever
// destroyed: in this library, and for it alone, registering such a destructor does nothing. Statics here own memory
// only, which the end of the process returns.
#if defined(__linux__)

extern "C" __attribute__((visibility("hidden"))) int __cxa_atexit(void (*)(void*), void*, void*) {
  return 0;
}

#endif
