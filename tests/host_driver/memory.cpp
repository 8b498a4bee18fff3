// Memory of the devices, pinned memory, copies.
#include <cstdlib>
#include <cstring>

#include "state.h"

using namespace host_driver;

constexpr int ALIGNED = 512;
constexpr int NEW = 0xff, FREED = 0xdd;  // NaN as float32 and float64; a number that stands out

static long long last_number = 0;

static Error allocate(void** address, size_t bytes, int device) {
    *address = nullptr;
    if (device != HOST && used_on(device) + bytes > capacity) return OUT_OF_MEMORY;
    if (posix_memalign(address, ALIGNED, bytes ? bytes : 1)) return OUT_OF_MEMORY;
    memset(*address, NEW, bytes);
    memory[reinterpret_cast<size_t>(*address)] = {bytes, device, ++last_number};
    return SUCCESS;
}

static Error release(void* address, const char* what) {
    if (!address) return SUCCESS;
    if (Error error = unsafe_in_capture(what)) return error;
    const auto found = memory.find(reinterpret_cast<size_t>(address));
    if (found == memory.end())
        return fault(INVALID_VALUE, std::string(what) + " of what is not allocated");
    for (int device = 0; device < device_count; ++device) finish_device(device);  // as CUDA waits
    memset(address, FREED, found->second.bytes);
    memory.erase(found);
    free(address);
    return SUCCESS;
}

API Error cudaMalloc(void** address, size_t bytes) {
    Call call("cudaMalloc");
    if (Error error = unsafe_in_capture("cudaMalloc")) return error;
    return allocate(address, bytes, current_device);
}

API Error cudaFree(void* address) {
    Call call("cudaFree");
    return release(address, "cudaFree");
}

API Error cudaHostAlloc(void** address, size_t bytes, unsigned) {
    Call call("cudaHostAlloc");
    if (Error error = unsafe_in_capture("cudaHostAlloc")) return error;
    return allocate(address, bytes, HOST);
}

API Error cudaFreeHost(void* address) {
    Call call("cudaFreeHost");
    return release(address, "cudaFreeHost");
}

API Error cudaMemGetInfo(size_t* free_bytes, size_t* all) {
    Call call("cudaMemGetInfo");
    *free_bytes = capacity - used_on(current_device);
    *all = capacity;
    return SUCCESS;
}

struct PointerAttributes {
    int type, device;
    void *on_device, *on_host;
    long reserved[8];
};

API Error cudaPointerGetAttributes(PointerAttributes* attributes, const void* address) {
    Call call("cudaPointerGetAttributes");
    enum { UNREGISTERED, PINNED, DEVICE };
    const auto found = block_at(address);
    void* place = const_cast<void*>(address);
    memset(attributes, 0, sizeof *attributes);
    attributes->on_host = place;
    if (found == memory.end()) return attributes->type = UNREGISTERED, SUCCESS;
    if (found->second.device == HOST) return attributes->type = PINNED, SUCCESS;
    *attributes = {DEVICE, found->second.device, place, nullptr, {}};
    return SUCCESS;
}

// -- copies ----------------------------------------------------------------------------------------

namespace {

struct Side {
    bool on_device = false, pinned = false, whole = true;
    int device = HOST;
    std::map<size_t, long long> block;
};

Side side_of(const void* address, size_t bytes) {
    Side side;
    const auto found = block_at(address);
    if (found == memory.end()) return side;
    const auto& [start, block] = *found;
    side.device = block.device;
    side.on_device = block.device != HOST;
    side.pinned = !side.on_device;
    side.whole = reinterpret_cast<size_t>(address) + bytes <= start + block.bytes;
    side.block[start] = block.number;
    return side;
}

Error copy(void* to, const void* from, size_t bytes, Stream* stream, bool waits) {
    if (!stream) return fault(INVALID_HANDLE, "a copy on a stream that is not there");
    if (!bytes) return SUCCESS;
    const Side target = side_of(to, bytes), source = side_of(from, bytes);
    if (!target.whole || !source.whole) return fault(INVALID_VALUE, "a copy past the end of memory");
    const bool across = !target.on_device || !source.on_device;
    count(!target.on_device ? "copy-to-host" : across ? "copy-to-device" : "copy-on-device");
    for (const Side& side : {target, source})
        if (side.on_device && side.device != stream->device) count("copy-of-another-device");
    Node node{"copy", stream->device, [=] { memmove(to, from, bytes); }, target.block};
    node.blocks.insert(source.block.begin(), source.block.end());
    if (stream->capture && across) return refused_in_capture(stream, "a copy from or to the host");
    if (!stream->capture && !source.on_device && !source.pinned) {  // pageable: read before it returns
        const char* bytes_now = static_cast<const char*>(from);
        auto staged = std::make_shared<std::vector<char>>(bytes_now, bytes_now + bytes);
        node.run = [=] { memcpy(to, staged->data(), bytes); };
    }
    if (is_legacy(stream) && !across && target.device != source.device) {  // waits for both devices
        finish_device(target.device);
        finish_device(source.device);
        waits = true;
    }
    if (Error error = add(stream, node)) return error;
    if (waits || (!target.on_device && !target.pinned)) {
        finish(stream);
        return told();
    }
    return SUCCESS;
}

Error set(void* to, int value, size_t bytes, Stream* stream) {
    if (!stream) return fault(INVALID_HANDLE, "memory is set on a stream that is not there");
    const Side target = side_of(to, bytes);
    if (bytes && !(target.on_device && target.whole))
        return fault(INVALID_VALUE, "what is not memory of a device is set");
    return add(stream, {"set", stream->device, [=] { memset(to, value, bytes); }, target.block});
}

}  // namespace

API Error cudaMemcpy(void* to, const void* from, size_t bytes, int) {
    Call call("cudaMemcpy");
    if (Error error = unsafe_in_capture("cudaMemcpy")) return error;
    return copy(to, from, bytes, stream_of(nullptr), true);
}

API Error cudaMemcpyAsync(void* to, const void* from, size_t bytes, int, void* stream) {
    Call call("cudaMemcpyAsync");
    return copy(to, from, bytes, stream_of(stream), false);
}

API Error cudaMemcpyPeer(void* to, int, const void* from, int, size_t bytes) {
    Call call("cudaMemcpyPeer");
    return copy(to, from, bytes, stream_of(nullptr), true);
}

API Error cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, void* stream) {
    Call call("cudaMemcpyPeerAsync");
    return copy(to, from, bytes, stream_of(stream), false);
}

API Error cudaMemset(void* to, int value, size_t bytes) {
    Call call("cudaMemset");
    return set(to, value, bytes, stream_of(nullptr));
}

API Error cudaMemsetAsync(void* to, int value, size_t bytes, void* stream) {
    Call call("cudaMemsetAsync");
    return set(to, value, bytes, stream_of(stream));
}
