// Runs the threads of a kernel, one block after another, on one thread of the CPU.
//
// Each CUDA thread is a fiber: a stack of its own, and a switch in a few instructions. A warp runs
// until all its lanes stand at a warp operation, at a barrier or at the end; a block until all its
// threads stand at the same barrier. Threads that stand at different ones are an error.
#include "runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <utility>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define __asan_unpoison_memory_region(address, bytes) (void)0
#endif

// Linker symbols: where the kernel's static shared memory lies, if it has any.
extern "C" {
HC_SHARED_SECTION
void hc_switch(void** save, void* to);
}

asm(R"(
    .text
    .type hc_switch, @function
    .hidden hc_switch
hc_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
    .size hc_switch, .-hc_switch
)");

namespace hc {

Thread* current;
Index block_index, block_size, grid_size;
unsigned char* dynamic_shared;
Launch* launch;
unsigned interval, block_start, warp_epoch[MOST_THREADS / 32];

namespace {

struct Copy {
    void* to;
    const void* from;
    int bytes;
    bool valid;
    int group;
    Site site;
};

struct Copies {
    std::vector<Copy> pending;
    int groups = 0;  // closed so far
};

constexpr Size POISON_AFTER = 4096;  // bytes behind dynamic shared memory, checked after each block

void (*kernel)(void**);
void* arguments[1024];
alignas(16) unsigned char argument_bytes[64 * 1024];
Thread threads[MOST_THREADS];
Copies copies[MOST_THREADS];
Slot slots[MOST_THREADS / 32][2][32];
int thread_count, barrier_sum;
bool failed;
void* main_stack_pointer;
std::vector<void*> stacks;  // free ones
unsigned long long random_state;

unsigned random_below(unsigned most) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)((random_state >> 33) % most);
}

// The numbers 0 to count - 1 in the order asked for.
template <class T>
void put_in_order(T* numbers, T count) {
    for (T i = 0; i < count; ++i) numbers[i] = launch->order == 1 ? count - 1 - i : i;
    if (launch->order == 2)
        for (T i = count - 1; i > 0; --i) std::swap(numbers[i], numbers[random_below((unsigned)i + 1)]);
}

// Not memset: AddressSanitizer's own would refuse the gaps between arrays.
void fill(unsigned char* start, Size bytes) {
    asm volatile("rep stosb" : "+D"(start), "+c"(bytes) : "a"(0xff) : "memory");
}

// Notes what was wrong; the launch ends when control is back in `run_block`.
void report(const Thread* thread, Site site, const char* format, ...)
    __attribute__((format(printf, 3, 4)));
void report_values(const Thread* thread, Site site, const char* format, va_list values) {
    vsnprintf(launch->what, sizeof launch->what, format, values);
    launch->fault_block = block_index;
    if (thread) launch->fault_thread = thread->index;
    launch->site = site;
    failed = true;
}
void report(const Thread* thread, Site site, const char* format, ...) {
    va_list values;
    va_start(values, format);
    report_values(thread, site, format, values);
    va_end(values);
}

void thread_main() {
    kernel(arguments);
    current->stop = Stop::end;
    hc_switch(&current->stack_pointer, main_stack_pointer);
    __builtin_unreachable();
}

void begin_thread(Thread& thread) {
    thread.stack = stacks.back();
    stacks.pop_back();
    __asan_unpoison_memory_region((char*)thread.stack + 4096, STACK - 4096);
    // As hc_switch leaves a stack: six registers, the address to go on at, and what a call pushes.
    void** top = (void**)((char*)thread.stack + STACK);
    top[-1] = nullptr;
    top[-2] = (void*)thread_main;
    for (int i = 3; i <= 8; ++i) top[-i] = nullptr;
    thread.stack_pointer = top - 8;
}

void run_thread(Thread& thread) {
    if (!thread.stack) begin_thread(thread);
    current = &thread;
    thread.stop = Stop::none;
    hc_switch(&main_stack_pointer, thread.stack_pointer);
    if (thread.stop == Stop::end) {
        stacks.push_back(thread.stack);
        thread.stack = nullptr;
        for (const Copy& copy : copies[thread.number].pending)
            if (!failed) report(&thread, copy.site, "copy_async was never waited for");
    }
    current = nullptr;
}

void stop(Stop kind, Site site) {
    current->stop = kind;
    current->site = site;
    hc_switch(&current->stack_pointer, main_stack_pointer);
}

const char* name(Stop stop) {
    static const char* const names[] = {"nothing", "__syncthreads", "__syncthreads with a predicate",
                                        "__syncwarp", "a shuffle", "a ballot", "load_matrices", "mma_tf32",
                                        "mma_bf16", "the end"};
    return names[(int)stop];
}

bool at_barrier(const Thread& t) { return t.stop == Stop::barrier || t.stop == Stop::barrier_count; }
bool at_end(const Thread& t) { return t.stop == Stop::end; }
bool together(const Thread& a, const Thread& b) {
    return a.stop == b.stop &&
           (at_end(a) || (a.site.line == b.site.line && !strcmp(a.site.file, b.site.file)));
}

// Of `count` threads from `first`, one stands elsewhere than the first.
bool diverged(const Thread* first, int count, const char* group) {
    int with_first = 0;
    const Thread* other = nullptr;
    for (int i = 0; i < count; ++i) {
        if (together(first[i], *first)) ++with_first;
        else if (!other) other = first + i;
    }
    const Thread* shown = at_end(*first) ? other : first;
    const Thread* against = shown == first ? other : first;
    const int with_shown = shown == first ? with_first : count - with_first;
    char place[80] = "";
    if (!at_end(*against)) snprintf(place, sizeof place, " in line %d", against->site.line);
    report(shown, shown->site,
           "%d of the %d threads of the %s stand at %s, thread (%u, %u, %u) at %s%s", with_shown, count,
           group, name(shown->stop), against->index.x, against->index.y, against->index.z,
           name(against->stop), place);
    return false;
}

// Until each lane stands at a barrier or at the end.
bool run_warp(int warp) {
    Thread* lanes = threads + warp * 32;
    int order[32];
    for (;;) {
        put_in_order(order, 32);
        for (int lane : order) {
            if (!at_end(lanes[lane])) run_thread(lanes[lane]);
            if (failed) return false;
        }
        bool waiting = false;
        for (int i = 0; i < 32; ++i) waiting |= !at_end(lanes[i]) && !at_barrier(lanes[i]);
        if (!waiting) return true;
        for (int i = 1; i < 32; ++i)
            if (!together(lanes[i], lanes[0])) return diverged(lanes, 32, "warp");
        if (lanes[0].stop == Stop::sync_warp) ++warp_epoch[warp];
    }
}

bool run_block(std::vector<int>& warps) {
    if (__start_cuda_shared) fill(__start_cuda_shared, __stop_cuda_shared - __start_cuda_shared);
    fill(dynamic_shared, launch->shared + POISON_AFTER);
    block_start = ++interval;
    for (int i = 0; i < thread_count; ++i) threads[i].stop = Stop::none;
    for (;;) {
        put_in_order(warps.data(), (int)warps.size());
        for (int warp : warps)
            if (!run_warp(warp)) return false;
        for (int i = 1; i < thread_count; ++i)
            if (!together(threads[i], threads[0])) return diverged(threads, thread_count, "block");
        if (at_end(threads[0])) break;
        barrier_sum = 0;
        for (int i = 0; i < thread_count; ++i) barrier_sum += threads[i].value != 0;
        ++interval;
    }
    for (Size i = 0; i < POISON_AFTER; ++i)
        if (dynamic_shared[launch->shared + i] != 0xff) {
            report(nullptr, {}, "wrote behind its %zu bytes of dynamic shared memory", launch->shared);
            return false;
        }
    return true;
}

}  // namespace

void fail(Site site, const void* pc, const void* other_pc, const char* format, ...) {
    va_list values;
    va_start(values, format);
    report_values(current, site, format, values);
    va_end(values);
    launch->pc = pc;
    launch->other_pc = other_pc;
    void* abandoned;
    hc_switch(&abandoned, main_stack_pointer);
    __builtin_unreachable();
}

int barrier(Stop kind, int value, Site site) {
    current->value = value;
    stop(kind, site);
    return barrier_sum;
}

const Slot* exchange(Stop kind, unsigned mask, const void* mine, Size bytes, Site site) {
    if (mask != 0xffffffffu) fail(site, nullptr, nullptr, "%s with the mask 0x%x", name(kind), mask);
    Slot(&shown)[32] = slots[current->number / 32][current->shown++ % 2];
    memcpy(shown[current->number % 32].bytes, mine, bytes);
    stop(kind, site);
    return shown;
}

void issue_copy(void* shared, const void* global, int bytes, bool valid, Site site) {
    if ((Size)shared % bytes || (valid && (Size)global % bytes))
        fail(site, nullptr, nullptr, "copy_async of %d bytes between addresses not aligned to them", bytes);
    Copies& own = copies[current->number];
    if (check_access) {
        if (valid) check_access(global, bytes, false, false, site);
        check_access(shared, bytes, true, false, site);
        check_in_flight(shared, bytes, true);
    }
    memset(shared, 0xff, bytes);
    own.pending.push_back({shared, global, bytes, valid, own.groups, site});
}

void commit_copies() { ++copies[current->number].groups; }

void wait_for_copies(int pending) {
    Copies& own = copies[current->number];
    Size done = 0;
    for (; done < own.pending.size() && own.pending[done].group < own.groups - pending; ++done) {
        const Copy& copy = own.pending[done];
        if (check_in_flight) {
            check_in_flight(copy.to, copy.bytes, false);
            check_access(copy.to, copy.bytes, true, false, copy.site);
        }
        if (copy.valid) memcpy(copy.to, copy.from, copy.bytes);
        else memset(copy.to, 0, copy.bytes);
    }
    own.pending.erase(own.pending.begin(), own.pending.begin() + done);
}

void about_to_read(const void* address, int bytes, Site site) {
    if (check_access) check_access(address, bytes, false, false, site);
}

void about_to_change_atomically(void* target, int bytes, Site site) {
    if (check_access) check_access(target, bytes, true, true, site);
}

void fence() {
    if (check_fence) check_fence();
}

void must_be_line(const void* line, Site site) {
    const auto within = [&](const unsigned char* start, Size bytes) {
        return (const unsigned char*)line >= start && (const unsigned char*)line + 16 <= start + bytes;
    };
    const Size bytes = __start_cuda_shared ? __stop_cuda_shared - __start_cuda_shared : 0;
    if (!within(__start_cuda_shared, bytes) && !within(dynamic_shared, launch->shared))
        fail(site, nullptr, nullptr, "load_matrices from what is not shared memory");
    if ((Size)line % 16) fail(site, nullptr, nullptr, "load_matrices from an address that 16 does not divide");
}

void must_be_tf32(const unsigned* numbers, int count, Site site) {
    if (!check_access) return;
    for (int i = 0; i < count; ++i)
        if ((numbers[i] & 0x1fffu) && numbers[i] << 1 <= 0xff000000u)
            fail(site, nullptr, nullptr, "an operand of mma_tf32, 0x%08x, was not rounded by to_tf32",
                 numbers[i]);
}

void trap(Site site) { fail(site, nullptr, nullptr, "__trap"); }

}  // namespace hc

using namespace hc;

// Runs blocks `first_block` to `end_block` of a launch that `HostLauncher` has checked.
extern "C" __attribute__((visibility("hidden"))) void hc_run(Launch* asked, const Parameter* parameters,
                                                             void (*body)(void**)) {
    launch = asked;
    kernel = body;
    Size used = 0;
    for (int i = 0; parameters[i].kind; ++i) {  // the checker knows the runtime's memory, not Python's
        arguments[i] = memcpy(argument_bytes + used, asked->arguments[i], parameters[i].bytes);
        used += (parameters[i].bytes + 15) / 16 * 16;
    }
    block_size = launch->block;
    grid_size = launch->grid;
    thread_count = (int)(block_size.x * block_size.y * block_size.z);
    random_state = launch->seed * 0x9e3779b97f4a7c15ull + 0x2545f4914f6cdd1dull;
    failed = false;
    interval = 0;
    current = nullptr;
    std::vector<unsigned char> memory(launch->shared + POISON_AFTER + 64);
    dynamic_shared = memory.data() + (64 - (Size)memory.data() % 64) % 64;
    memset(warp_epoch, 0, sizeof warp_epoch);
    stacks.clear();
    for (int i = 0; i < thread_count; ++i) {
        const unsigned n = (unsigned)i;
        stacks.push_back(launch->stacks + i * STACK);
        threads[i] = {};
        threads[i].number = i;
        threads[i].index = {n % block_size.x, n / block_size.x % block_size.y,
                            n / block_size.x / block_size.y};
        copies[i] = {};
    }
    std::vector<int> warps(thread_count / 32);
    const long long count = launch->end_block - launch->first_block;
    std::vector<long long> blocks;
    if (launch->order == 2 && count <= 1 << 20) {
        blocks.resize(count);
        put_in_order(blocks.data(), count);
    }
    if (begin_checks) begin_checks();
    for (long long i = 0; i < count && !failed; ++i) {
        long long block = launch->order == 1 ? count - 1 - i : blocks.empty() ? i : blocks[i];
        block += launch->first_block;
        block_index = {(unsigned)(block % grid_size.x), (unsigned)(block / grid_size.x % grid_size.y),
                       (unsigned)(block / grid_size.x / grid_size.y)};
        run_block(warps);
    }
    if (end_checks) end_checks();
}
