#include "core/scheduling.h"

#if defined(__linux__)
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#endif

namespace resnet {

void giveWay(GivesWay to) noexcept {
#if defined(__linux__)
  if (sched_getscheduler(0) != SCHED_OTHER) return;  // somebody has decided otherwise
  const auto thread = id_t(syscall(SYS_gettid));
  errno = 0;
  const int inherited = getpriority(PRIO_PROCESS, thread);
  if (inherited == -1 && errno != 0) return;
  (void)setpriority(PRIO_PROCESS, thread, inherited + int(to));
#else
  (void)to;
#endif
}

}  // namespace resnet
