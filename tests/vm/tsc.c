// Prints how fast this host's time stamp counter runs, kHz. The test machine's counter is the host's, and a kernel that
// measures it itself against emulated timers, on a busy host, has come out 13 times too low.
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_RAW, &t);
    return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

int main(void) {
    const struct timespec pause = {0, 200000000};
    const double began = now();
    const unsigned long long first = __rdtsc();
    nanosleep(&pause, NULL);
    const unsigned long long last = __rdtsc();
    printf("%.0f\n", (last - first) / (now() - began));
    return 0;
}
