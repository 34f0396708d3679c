// What the library's threads tell the system's scheduler.
#pragma once

namespace resnet {

// Who goes first when there are more threads than processors. The event loop works for microseconds at a time and hands
// out work to all others, so it is to be let in as soon as it wakes; a network's threads wait for one another at every
// barrier; for one image nobody waits. The values are niceness on Linux, on top of the process's own.
enum class GivesWay { kNetwork = 1, kImages = 4 };

// Of the calling thread. A hint: where the system has no priority of single threads, or refuses, it runs as any other.
void giveWay(GivesWay to) noexcept;

}  // namespace resnet
