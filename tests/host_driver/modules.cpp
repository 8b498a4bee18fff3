// Modules and kernels: what stands for machine code is the number of a program (programs.py), whose
// kernels tests/host_cuda compiles, and whose runtime runs them.
#include "state.h"

#include <cstdlib>
#include <cstring>

#include "../host_cuda/runtime.h"  // last: it gives words of the system's headers other meanings

using namespace host_driver;

// A kernel as tests/host_cuda has compiled it: programs.py has the same fields.
struct Found {
    void (*start)(hc::Launch*);
    const hc::Parameter* parameters;
    int count;              // of parameters
    unsigned char* stacks;  // for the threads of a block
    int most_threads;       // of a block, by its launch bounds
    int static_shared;      // bytes of a block
};

namespace {

constexpr char MAGIC[] = "host program ";
constexpr unsigned MOST_BLOCKS = 65535;
constexpr int SHARED = 48 << 10, MOST_SHARED = 227 << 10;  // bytes: of any kernel, and if asked for
constexpr size_t WORD = sizeof(void*), MOST_ARGUMENTS = 32764;

struct Module {
    int program, device;
    std::vector<struct Kernel*> kernels;
};

struct Kernel {
    std::string name;
    int device = 0;
    Found code;
    int most_shared = 0;  // bytes of dynamic shared memory, until it asks for more
    bool loaded = true;
};

using Arguments = std::vector<std::vector<unsigned char>>;

std::set<Module*> modules;

}  // namespace

// Finds a kernel of a program: 1, or 0 where there is none.
using Find = int (*)(int program, const char* name, Found* found);
static Find find;
API void host_driver_find_kernels_by(Find function) { find = function; }

API Error cuModuleLoadData(void** handle, const void* image) {
    Call call("cuModuleLoadData");
    for (Stream* stream : streams)  // which CUDA allows where it loads lazily; but not this project
        if (stream->capture) return refused_in_capture(stream, "the load of a module");
    const char* text = static_cast<const char*>(image);
    if (strncmp(text, MAGIC, strlen(MAGIC)))
        return fault(INVALID_IMAGE, "a module is loaded that no stand-in compiled");
    Module* module = new Module{atoi(text + strlen(MAGIC)), current_device, {}};
    modules.insert(module);
    loaded_modules = modules.size();
    *handle = module;
    return SUCCESS;
}

API Error cuModuleUnload(void* handle) {
    Call call("cuModuleUnload");
    Module* module = static_cast<Module*>(handle);
    if (!modules.erase(module)) return fault(INVALID_HANDLE, "a module is unloaded twice");
    loaded_modules = modules.size();
    for (Kernel* kernel : module->kernels) kernel->loaded = false;  // kept: a graph may run them yet
    delete module;
    return SUCCESS;
}

API Error cuModuleGetFunction(void** handle, void* module_handle, const char* name) {
    Module* module = static_cast<Module*>(module_handle);
    Found found;
    if (!find(module->program, name, &found))  // without the lock: it is Python's turn
        return fault(NOT_FOUND, std::string("no kernel ") + name);
    Call call("cuModuleGetFunction");
    Kernel* kernel = new Kernel{name, module->device, found, SHARED - found.static_shared};
    module->kernels.push_back(kernel);
    *handle = kernel;
    return SUCCESS;
}

enum { MAX_THREADS_PER_BLOCK = 0, SHARED_SIZE_BYTES = 1, MAX_DYNAMIC_SHARED_SIZE_BYTES = 8 };

API Error cuFuncGetAttribute(int* value, int attribute, void* handle) {
    Call call("cuFuncGetAttribute");
    const Kernel* kernel = static_cast<Kernel*>(handle);
    *value = attribute == MAX_THREADS_PER_BLOCK           ? kernel->code.most_threads
             : attribute == SHARED_SIZE_BYTES             ? kernel->code.static_shared
             : attribute == MAX_DYNAMIC_SHARED_SIZE_BYTES ? kernel->most_shared
                                                          : 0;
    return SUCCESS;
}

API Error cuFuncSetAttribute(void* handle, int attribute, int value) {
    Call call("cuFuncSetAttribute");
    if (attribute != MAX_DYNAMIC_SHARED_SIZE_BYTES) return SUCCESS;
    Kernel* kernel = static_cast<Kernel*>(handle);
    if (value < 0 || value > MOST_SHARED - kernel->code.static_shared)
        return fault(INVALID_VALUE, kernel->name + " asks for shared memory that no device has");
    kernel->most_shared = value;
    return SUCCESS;
}

// -- launches --------------------------------------------------------------------------------------

static void run(Kernel* kernel, hc::Index grid, hc::Index block, unsigned shared,
                const Arguments& arguments) {
    if (!kernel->loaded) {
        pending = fault(LAUNCH_FAILED, kernel->name + " of a module that was unloaded");
        return;
    }
    std::vector<void*> places;
    for (const auto& argument : arguments)
        places.push_back(const_cast<unsigned char*>(argument.data()));
    hc::Launch launch{};
    launch.grid = grid;
    launch.block = block;
    launch.shared = shared;
    launch.arguments = places.data();
    launch.stacks = kernel->code.stacks;
    launch.end_block = (long long)grid.x * grid.y * grid.z;
    kernel->code.start(&launch);
    if (launch.what[0]) pending = fault(LAUNCH_FAILED, kernel->name + ": " + launch.what);
}

// The memory that an argument names: a pointer must be null or of the kernel's device.
static Error note_memory(const Kernel* kernel, int place,
                         const std::vector<unsigned char>& argument, Node* node) {
    const bool pointer = kernel->code.parameters[place].kind == 'p';
    for (size_t at = 0; at + WORD <= argument.size(); at += WORD) {
        size_t word;
        memcpy(&word, argument.data() + at, WORD);
        const auto found = block_at(reinterpret_cast<void*>(word));
        const std::string where = kernel->name + ": argument " + std::to_string(place);
        if (found == memory.end()) {
            if (pointer && word)
                return fault(ILLEGAL_ADDRESS, where + " points to no memory of a device");
            continue;
        }
        const Block& block = found->second;
        if (block.device != HOST && block.device != kernel->device)
            return fault(ILLEGAL_ADDRESS, where + " lies on another device");
        node->blocks[found->first] = block.number;
    }
    return SUCCESS;
}

API Error cuLaunchKernel(void* handle, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                         unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                         void* stream_handle, void** arguments, void**) {
    Call call("cuLaunchKernel");
    Kernel* kernel = static_cast<Kernel*>(handle);
    Stream* stream = stream_of(stream_handle);
    if (!stream) return fault(INVALID_HANDLE, kernel->name + " on a stream that is not there");
    if (kernel->device != current_device || stream->device != current_device)
        return fault(INVALID_HANDLE, kernel->name + " or its stream is of another device");
    const size_t threads = size_t(block_x) * block_y * block_z;
    const bool has_blocks = grid_x && grid_y && grid_z;
    if (!threads || !has_blocks || grid_y > MOST_BLOCKS || grid_z > MOST_BLOCKS)
        return fault(INVALID_VALUE, kernel->name + " is launched with sizes that no device takes");
    if (threads > size_t(kernel->code.most_threads))
        return fault(INVALID_VALUE, kernel->name + " is launched with more threads than its bounds");
    if ((long long)shared > kernel->most_shared)
        return fault(INVALID_VALUE, kernel->name + " is launched with more shared memory than it has");
    Arguments values;
    size_t bytes = 0;
    Node node{"kernel " + kernel->name, current_device, {}, {}};
    for (int i = 0; i < kernel->code.count; ++i) {
        const auto* start = static_cast<unsigned char*>(arguments[i]);
        values.emplace_back(start, start + kernel->code.parameters[i].bytes);
        bytes += values.back().size();
        if (Error error = note_memory(kernel, i, values.back(), &node)) return error;
    }
    if (bytes > MOST_ARGUMENTS) return fault(INVALID_VALUE, kernel->name + " has too many arguments");
    // The runtime runs whole warps: a kernel of CuPy with fewer threads is given the rest, too.
    const unsigned whole = (block_x + 31) / 32 * 32;
    const hc::Index grid{grid_x, grid_y, grid_z};
    const hc::Index block{block_y * block_z == 1 ? whole : block_x, block_y, block_z};
    node.run = [=] { run(kernel, grid, block, shared, values); };
    return add(stream, std::move(node));
}
