// The state, what is counted, and what a test asks for.
#include "state.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace host_driver {

bool lazy = false;
int device_count = 2;
size_t capacity = size_t(8) << 30;
std::map<std::string, Count> counts;
std::vector<std::string> faults;
thread_local int current_device = 0;
std::map<size_t, Block> memory;
std::set<Stream*> streams;
std::set<Stream*> destroyed;
std::set<Event*> events;
std::set<Graph*> executables;
std::vector<std::string> last_graph;
long long loaded_modules = 0;
Error pending = SUCCESS;

static std::recursive_mutex one_call_at_a_time;

Call::Call(const char* name) {
    one_call_at_a_time.lock();
    count(name);
}

Call::~Call() { one_call_at_a_time.unlock(); }

void count(const char* what) {
    Count& found = counts[what];
    ++found.all;
    found.in_capture += is_capturing();
}

Error fault(Error error, const std::string& text) {
    faults.push_back(text);
    return error;
}

Error told() {
    const Error error = pending;
    pending = SUCCESS;
    return error;
}

std::map<size_t, Block>::iterator block_at(const void* address) {
    const size_t place = reinterpret_cast<size_t>(address);
    auto after = memory.upper_bound(place);
    if (after == memory.begin()) return memory.end();
    auto found = std::prev(after);
    const size_t bytes = found->second.bytes ? found->second.bytes : 1;
    return place < found->first + bytes ? found : memory.end();
}

size_t used_on(int device) {
    size_t total = 0;
    for (const auto& [address, block] : memory) total += block.device == device ? block.bytes : 0;
    return total;
}

}  // namespace host_driver

using namespace host_driver;

// -- for __init__.py -------------------------------------------------------------------------------

API void host_driver_set(int is_lazy, int devices, size_t bytes) {
    lazy = is_lazy, device_count = devices, capacity = bytes;
}

// Writes lines of words, and returns how long all of it is:
//     call NAME TIMES TIMES_IN_A_CAPTURE | live WHAT COUNT | node KIND [NAME] | fault TEXT
API size_t host_driver_state(char* text, size_t room) {
    std::string lines;
    const auto line = [&](const std::string& words) { lines += words + "\n"; };
    const auto live = [&](const std::string& what, size_t number) {
        line("live " + what + " " + std::to_string(number));
    };
    for (const auto& [name, times] : counts)
        line("call " + name + " " + std::to_string(times.all) + " " +
             std::to_string(times.in_capture));
    for (int device = 0; device < device_count; ++device)
        live("bytes" + std::to_string(device), used_on(device));
    live("pinned", used_on(HOST));
    live("streams", std::count_if(streams.begin(), streams.end(),
                                  [](const Stream* stream) { return !stream->is_default; }));
    live("events", events.size());
    live("graphs", executables.size());
    live("modules", loaded_modules);
    for (const auto& node : last_graph) line("node " + node);
    for (const auto& text : faults) line("fault " + text);
    if (room) snprintf(text, room, "%s", lines.c_str());
    return lines.size();
}

API void host_driver_clear_faults() {
    faults.clear();
    pending = SUCCESS;
}

// The runtime's functions that are not in this library: redirect.py makes them jump here.
API Error host_driver_missing(const char* name) {
    return fault(NOT_SUPPORTED, std::string(name) + " is not part of the CUDA of the host");
}
