// Between the runtime, the checker and `HostLauncher`.
#pragma once
#include "host.h"

namespace hc {

constexpr int MOST_THREADS = 1024;
constexpr Size STACK = 256 * 1024;  // its lowest page may not be touched

struct Buffer {
    unsigned char* start;
    Size bytes;
    int argument;  // which one it is, from 0
    int writeable;
    int element;  // bytes
};

// What `HostLauncher` asks for, and what it is told. ctypes in __init__.py has the same fields.
struct Launch {
    Index grid, block;
    Size shared;
    void** arguments;
    const Buffer* buffers;
    int buffer_count;
    unsigned char* stacks;  // MOST_THREADS of them: one set for all kernels of the process
    int order;  // 0 forward, 1 reverse, 2 random
    unsigned long long seed;
    long long first_block, end_block;

    char what[400];  // empty where all went well
    Index fault_block, fault_thread;
    Site site;
    const void* pc;        // instead of a site
    const void* other_pc;  // of the access it collides with
};

extern Launch* launch __attribute__((visibility("hidden")));
extern unsigned interval __attribute__((visibility("hidden")));
extern unsigned block_start __attribute__((visibility("hidden")));
extern unsigned warp_epoch[MOST_THREADS / 32] __attribute__((visibility("hidden")));

// Ends the launch with a message. From a thread of the kernel it does not return.
[[noreturn]] void fail(Site site, const void* pc, const void* other_pc, const char* format, ...)
    __attribute__((format(printf, 4, 5)));

// In checker.cpp, which only checked kernels are linked with.
#define HC_WEAK __attribute__((weak, visibility("hidden")))
void begin_checks() HC_WEAK;
void end_checks() HC_WEAK;
void check_access(const void* address, int bytes, bool write, bool atomic, Site site) HC_WEAK;
void check_in_flight(const void* address, int bytes, bool in_flight) HC_WEAK;
void check_fence() HC_WEAK;

}  // namespace hc
