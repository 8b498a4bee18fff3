// Checks each access of a kernel, and what UndefinedBehaviorSanitizer would.
//
// The kernel is compiled with -fsanitize=thread,undefined, but linked with the functions below in
// place of the sanitizers' libraries. For every four bytes of memory (one, for arrays of bytes) it is
// noted who wrote and who read them last, and when. Two accesses of different threads to the same bytes,
// one of them a write and not both atomic, are a race unless a barrier lies between them, or, within
// a warp, __syncwarp. Shuffles and mma order no memory. Between blocks it takes what the manual asks for:
// the first changes a counter atomically once each of its threads that wrote has called __threadfence,
// the other one then changes the same counter and calls __threadfence itself.
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <vector>

#include "runtime.h"

extern "C" {
extern unsigned char __start_cuda_shared[] HC_WEAK;
extern unsigned char __stop_cuda_shared[] HC_WEAK;
extern unsigned char __ehdr_start[] __attribute__((visibility("hidden")));
extern unsigned char _end[] __attribute__((visibility("hidden")));
}

namespace hc {
namespace {

// An access. `interval` tells blocks and barrier intervals apart: it grows over the launch; 0: none.
struct Mark {
    unsigned interval;
    unsigned pc;  // from __ehdr_start; 0: only the line is known
    unsigned short warp_epoch;
    unsigned short thread : 10, atomic : 1, bytes : 4;  // which of the four bytes
};

// Of the readers, those that any later writer must be compared with: the latest; another lane of its
// warp; and one of another warp, or better of an earlier block.
struct Cell {
    Mark writer, reader, other_lane, other_warp;
    unsigned initialised_in;  // the block, by its first interval
    unsigned char initialised, in_flight;  // a bit for each byte
};

struct Region {
    const unsigned char* start;
    Size bytes;
    Cell* cells;
    Size mapped;
    const Buffer* buffer;  // null: shared memory
    Size grain;            // bytes of a cell: 4, or 1 for an array of bytes
};

std::vector<Region> regions;  // shared memory first
std::vector<Cell> static_cells, dynamic_cells;
const Region* latest;

Region shared_region(unsigned char* start, Size bytes, std::vector<Cell>& cells) {
    cells.assign(bytes / 4 + 2, {});
    return {start, bytes, cells.data(), 0, nullptr, 4};
}

void add_buffer(const Buffer& buffer) {
    const Size grain = buffer.element == 1 ? 1 : 4;
    const Size bytes = (buffer.bytes / grain + 2) * sizeof(Cell);
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) __builtin_trap();  // many times the address space of what it watches
    regions.push_back({buffer.start, buffer.bytes, (Cell*)memory, bytes, &buffer, grain});
}

const Region* find(const unsigned char* address, Size bytes) {
    const auto holds = [&](const Region& r) {
        return address >= r.start && address + bytes <= r.start + r.bytes;
    };
    if (latest && holds(*latest)) return latest;
    for (const Region& region : regions)
        if (holds(region)) return latest = &region;
    return nullptr;
}

const char* verb(bool write, bool atomic) {
    return atomic ? "changes atomically" : write ? "writes" : "reads";
}

[[noreturn]] void out_of_bounds(const unsigned char* address, int bytes, bool write, Site site,
                                const void* pc) {
    const Region* nearest = nullptr;
    Size least = 1 << 20;
    for (const Region& region : regions) {
        const Size away = address < region.start ? region.start - address
                          : address + bytes > region.start + region.bytes
                              ? address + bytes - region.start - region.bytes
                              : 0;
        if (region.bytes && away < least) least = away, nearest = &region;
    }
    if (!nearest)
        fail(site, pc, nullptr, "%s %d bytes at %p, far from all its memory", verb(write, false), bytes,
             (const void*)address);
    char what[40] = "shared memory";
    if (nearest->buffer) snprintf(what, sizeof what, "argument %d", nearest->buffer->argument);
    fail(site, pc, nullptr, "%s %d bytes, %zu bytes %s %s (of %zu bytes)", verb(write, false), bytes, least,
         address < nearest->start ? "before the start of" : "beyond the end of", what, nearest->bytes);
}

// A block that has changed `counter` after its threads' fences: what it did until then.
struct Release {
    unsigned first, last;  // intervals
    const void* counter;
};

std::vector<Release> releases;  // in the order of the blocks
// Of the block at work: who has written since its last fence, and what it has changed atomically.
bool unfenced[MOST_THREADS];
const void* changed[MOST_THREADS];
unsigned state_of;  // the block, by its first interval
// Where it sees what others have released: the counter, by which thread's fence, and when.
struct Acquire {
    const void* counter;
    unsigned short thread;
    unsigned interval;
};
std::vector<Acquire> acquires;

void begin_block() {
    if (state_of == block_start) return;
    state_of = block_start;
    memset(unfenced, 0, sizeof unfenced);
    memset(changed, 0, sizeof changed);
    acquires.clear();
}

void note_atomic(const void* counter) {
    changed[current->number] = counter;
    for (bool waits : unfenced)
        if (waits) return;
    if (!releases.empty() && releases.back().first == block_start && releases.back().counter == counter)
        releases.back().last = interval;
    else
        releases.push_back({block_start, interval, counter});
}

bool is_released(const Mark& before) {
    for (const Acquire& acquire : acquires) {
        if (acquire.thread != current->number && acquire.interval == interval) continue;  // no barrier yet
        Size low = 0, high = releases.size();
        while (low < high) {  // the last that begins before it
            const Size middle = (low + high) / 2;
            if (releases[middle].first <= before.interval) low = middle + 1;
            else high = middle;
        }
        for (; low > 0 && releases[low - 1].last >= before.interval; --low)
            if (releases[low - 1].counter == acquire.counter) return true;
    }
    return false;
}

bool ordered(const Mark& before) {
    if (before.interval == interval) {
        if (before.thread == current->number) return true;
        return before.thread / 32 == current->number / 32 &&
               before.warp_epoch != (unsigned short)warp_epoch[current->number / 32];
    }
    return before.interval >= block_start || is_released(before);
}

void compare(const Mark& before, bool before_writes, unsigned bytes, bool write, bool atomic, Site site,
             const void* pc, const Region& region) {
    if (!before.interval || !(before.bytes & bytes) || (before.atomic && atomic) || ordered(before)) return;
    if (!region.buffer && before.interval < block_start) return;  // each block has its own
    const unsigned n = before.thread;
    char what[40] = "shared memory";
    if (region.buffer) snprintf(what, sizeof what, "argument %d", region.buffer->argument);
    fail(site, pc, before.pc ? __ehdr_start + before.pc : nullptr,
         "race: %s %s that thread (%u, %u, %u) %s%s", verb(write, atomic), what, n % block_size.x,
         n / block_size.x % block_size.y, n / block_size.x / block_size.y,
         before.interval < block_start ? "of another block " : "",
         before.atomic ? "changed atomically" : before_writes ? "wrote" : "read");
}

void note_reader(Cell& cell, const Mark& now) {
    const Mark last = cell.reader;
    if (last.interval && (last.thread != now.thread || last.interval != now.interval)) {
        if (last.interval < block_start || last.thread / 32 != now.thread / 32) {
            const bool keep = cell.other_warp.interval && cell.other_warp.interval < block_start;
            if (!keep) cell.other_warp = last;
        } else {
            cell.other_lane = last;
        }
    }
    cell.reader = now;
}

void access(const unsigned char* address, int bytes, bool write, bool atomic, Site site, const void* pc) {
    const Region* region = find(address, bytes);
    if (!region) {
        const unsigned char* stack = (const unsigned char*)current->stack;
        const bool on_stack = address >= stack && address < stack + STACK;
        const bool constant = address >= __ehdr_start && address < _end;  // and the runtime's own
        if (on_stack || constant) return;
        out_of_bounds(address, bytes, write, site, pc);
    }
    if (write && region->buffer && !region->buffer->writeable)
        fail(site, pc, nullptr, "writes to argument %d, which is read-only", region->buffer->argument);
    const unsigned short number = (unsigned short)current->number;
    begin_block();
    const Mark now = {interval, pc ? (unsigned)((const unsigned char*)pc - __ehdr_start) : 0,
                      (unsigned short)warp_epoch[number / 32], number, atomic, 0};
    const Size grain = region->grain, first = (Size)address / grain * grain;
    const Size origin = (Size)region->start / grain * grain, end = (Size)address + bytes;
    for (Size word = first; word < end; word += grain) {
        Cell& cell = region->cells[(word - origin) / grain];
        unsigned mask = 0xf;
        if (word < (Size)address) mask &= 0xfu << ((Size)address - word);
        if (grain == 4 && word + 4 > end) mask &= 0xfu >> (word + 4 - end);
        if (!region->buffer) {
            if (cell.initialised_in != block_start)
                cell.initialised_in = block_start, cell.initialised = cell.in_flight = 0;
            if (cell.in_flight & mask)
                fail(site, pc, nullptr, "%s shared memory that copy_async is still filling", verb(write, atomic));
            if ((!write || atomic) && (cell.initialised & mask) != mask)
                fail(site, pc, nullptr, "%s shared memory that no thread has written", verb(write, atomic));
            if (write) cell.initialised |= mask;
        }
        Mark mark = now;
        mark.bytes = mask;
        compare(cell.writer, true, mask, write, atomic, site, pc, *region);
        if (write) {
            compare(cell.reader, false, mask, write, atomic, site, pc, *region);
            compare(cell.other_lane, false, mask, write, atomic, site, pc, *region);
            compare(cell.other_warp, false, mask, write, atomic, site, pc, *region);
            cell.writer = mark;
        } else {
            note_reader(cell, mark);
        }
    }
    if (!region->buffer) return;
    if (atomic) note_atomic(address);
    else if (write) unfenced[number] = true;
}

}  // namespace

void begin_checks() {
    regions.clear();
    releases.clear();
    state_of = 0;
    latest = nullptr;
    if (__start_cuda_shared)
        regions.push_back(
            shared_region(__start_cuda_shared, __stop_cuda_shared - __start_cuda_shared, static_cells));
    regions.push_back(shared_region(dynamic_shared, launch->shared, dynamic_cells));
    for (int i = 0; i < launch->buffer_count; ++i) add_buffer(launch->buffers[i]);
}

void end_checks() {
    for (const Region& region : regions)
        if (region.mapped) munmap(region.cells, region.mapped);
    regions.clear();
    latest = nullptr;
}

void check_access(const void* address, int bytes, bool write, bool atomic, Site site) {
    access((const unsigned char*)address, bytes, write, atomic, site, nullptr);
}

void check_in_flight(const void* address, int bytes, bool in_flight) {
    const Region* region = find((const unsigned char*)address, bytes);
    if (!region || region->buffer) return;
    const Size origin = (Size)region->start & ~(Size)3;
    for (int i = 0; i < bytes; i += 4) {  // copies are of whole words
        Cell& cell = region->cells[((Size)address + i - origin) / 4];
        cell.in_flight = in_flight ? 0xf : 0;
        if (in_flight) cell.initialised = 0;
    }
}

void check_fence() {
    begin_block();
    const unsigned short number = (unsigned short)current->number;
    unfenced[number] = false;
    if (changed[number]) acquires.push_back({changed[number], number, interval});
    changed[number] = nullptr;
}

}  // namespace hc

// -- in place of ThreadSanitizer's library -------------------------------------------------------

#define HC_PC __builtin_return_address(0)
#define HC_HOOKS(bytes)                                                                            \
    void __tsan_read##bytes(void* p) { hc::access((unsigned char*)p, bytes, 0, 0, {}, HC_PC); }    \
    void __tsan_write##bytes(void* p) { hc::access((unsigned char*)p, bytes, 1, 0, {}, HC_PC); }   \
    void __tsan_unaligned_read##bytes(void* p) {                                                   \
        hc::access((unsigned char*)p, bytes, 0, 0, {}, HC_PC);                                     \
    }                                                                                              \
    void __tsan_unaligned_write##bytes(void* p) {                                                  \
        hc::access((unsigned char*)p, bytes, 1, 0, {}, HC_PC);                                     \
    }

#pragma GCC visibility push(hidden)
extern "C" {
HC_HOOKS(1)
HC_HOOKS(2)
HC_HOOKS(4)
HC_HOOKS(8)
HC_HOOKS(16)
void __tsan_read_range(void* p, hc::Size n) { hc::access((unsigned char*)p, (int)n, 0, 0, {}, HC_PC); }
void __tsan_write_range(void* p, hc::Size n) { hc::access((unsigned char*)p, (int)n, 1, 0, {}, HC_PC); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

// -- and of UndefinedBehaviorSanitizer's: each is told first where in the source it happened ---------

struct SourceLocation {
    const char* file;
    unsigned line, column;
};

#define HC_UNDEFINED(name, what)                                                          \
    [[noreturn]] void __ubsan_handle_##name(SourceLocation* at) {                         \
        hc::fail({at->file, (int)at->line}, nullptr, nullptr, "undefined behaviour: %s", what); \
    }
HC_UNDEFINED(add_overflow_abort, "overflow of a signed addition")
HC_UNDEFINED(sub_overflow_abort, "overflow of a signed subtraction")
HC_UNDEFINED(mul_overflow_abort, "overflow of a signed multiplication")
HC_UNDEFINED(negate_overflow_abort, "overflow of a negation")
HC_UNDEFINED(divrem_overflow_abort, "division by zero, or its overflow")
HC_UNDEFINED(shift_out_of_bounds_abort, "a shift by too much, or of a negative number")
HC_UNDEFINED(out_of_bounds_abort, "an index outside its array")
HC_UNDEFINED(type_mismatch_v1_abort, "an address not aligned, null or outside its object")
HC_UNDEFINED(pointer_overflow_abort, "overflow of an address")
HC_UNDEFINED(load_invalid_value_abort, "a bool that is neither 0 nor 1")
HC_UNDEFINED(vla_bound_not_positive_abort, "an array without elements")
HC_UNDEFINED(nonnull_arg_abort, "a null argument")
HC_UNDEFINED(builtin_unreachable, "a place that is never reached")
HC_UNDEFINED(missing_return, "no value returned")
}
#pragma GCC visibility pop
