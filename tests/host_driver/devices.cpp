// Devices, versions, and the names of errors.
#include <cstdio>
#include <cstring>

#include "state.h"

using namespace host_driver;

constexpr int VERSION = 13000;
constexpr int THREADS = 1024, WARP = 32, PROCESSORS = 132;
constexpr int SHARED = 48 << 10, SHARED_AT_MOST = 227 << 10;  // bytes of a block
constexpr int MAJOR = 9, MINOR = 0;  // a device that has all that the kernels can make use of

// The beginning of cudaDeviceProp of CUDA 13: more of it nobody asks for here.
struct Properties {
    char name[256];
    char uuid[16], luid[8];
    unsigned luid_device_mask;
    size_t total_memory, shared_per_block;
    int registers_per_block, warp_size;
    size_t pitch;
    int threads_per_block, block[3], grid[3];
    size_t constant_memory;
    int major, minor;
    size_t texture_alignment, texture_pitch_alignment;
    int processors;
};

static const std::map<int, int> ATTRIBUTES = {
    {1, THREADS}, {5, 2147483647}, {8, SHARED}, {10, WARP}, {16, PROCESSORS},
    {75, MAJOR}, {76, MINOR}, {97, SHARED_AT_MOST},
};

static const std::map<Error, const char*> NAMES = {
    {SUCCESS, "cudaSuccess"},
    {INVALID_VALUE, "cudaErrorInvalidValue"},
    {OUT_OF_MEMORY, "cudaErrorMemoryAllocation"},
    {INVALID_CONFIGURATION, "cudaErrorInvalidConfiguration"},
    {INVALID_DEVICE, "cudaErrorInvalidDevice"},
    {INVALID_IMAGE, "cudaErrorInvalidKernelImage"},
    {INVALID_HANDLE, "cudaErrorInvalidResourceHandle"},
    {NOT_FOUND, "cudaErrorSymbolNotFound"},
    {NOT_READY, "cudaErrorNotReady"},
    {ILLEGAL_ADDRESS, "cudaErrorIllegalAddress"},
    {LAUNCH_FAILED, "cudaErrorLaunchFailure"},
    {NOT_SUPPORTED, "cudaErrorNotSupported"},
    {CAPTURE_UNSUPPORTED, "cudaErrorStreamCaptureUnsupported"},
    {CAPTURE_INVALIDATED, "cudaErrorStreamCaptureInvalidated"},
    {CAPTURE_UNMATCHED, "cudaErrorStreamCaptureUnmatched"},
    {CAPTURE_ISOLATION, "cudaErrorStreamCaptureIsolation"},
    {CAPTURE_IMPLICIT, "cudaErrorStreamCaptureImplicit"},
};

static const char* name_of(Error error) {
    const auto found = NAMES.find(error);
    return found == NAMES.end() ? "cudaErrorUnknown" : found->second;
}

static const char* text_of(Error error) {
    static std::string kept;
    if (error == OUT_OF_MEMORY) return "out of memory";
    kept = faults.empty() ? name_of(error) : faults.back();
    return kept.c_str();
}

API const char* cudaGetErrorName(Error error) { return name_of(error); }
API const char* cudaGetErrorString(Error error) { return text_of(error); }
API Error cudaGetLastError() { return SUCCESS; }

API Error cudaDriverGetVersion(int* version) { return *version = VERSION, SUCCESS; }
API Error cudaRuntimeGetVersion(int* version) { return *version = VERSION, SUCCESS; }

API Error cudaGetDevice(int* device) {
    Call call("cudaGetDevice");
    *device = current_device;
    return SUCCESS;
}

API Error cudaGetDeviceCount(int* count) { return *count = device_count, SUCCESS; }

API Error cudaSetDevice(int device) {
    Call call("cudaSetDevice");
    if (device < 0 || device >= device_count) return INVALID_DEVICE;
    current_device = device;
    return SUCCESS;
}

API Error cudaDeviceSynchronize() {
    Call call("cudaDeviceSynchronize");
    for (Stream* stream : streams)
        if (stream->capture) return refused_in_capture(stream, "cudaDeviceSynchronize");
    finish_device(current_device);
    return told();
}

API Error cudaDeviceGetAttribute(int* value, int attribute, int) {
    const auto found = ATTRIBUTES.find(attribute);
    *value = found == ATTRIBUTES.end() ? 0 : found->second;
    return SUCCESS;
}

API Error cudaGetDeviceProperties(Properties* properties, int device) {
    if (device < 0 || device >= device_count) return INVALID_DEVICE;
    memset(properties, 0, sizeof *properties);
    snprintf(properties->name, sizeof properties->name, "CUDA of the host %d", device);
    properties->total_memory = capacity;
    properties->shared_per_block = SHARED;
    properties->warp_size = WARP;
    properties->threads_per_block = THREADS;
    properties->major = MAJOR;
    properties->minor = MINOR;
    properties->processors = PROCESSORS;
    return SUCCESS;
}

API Error cudaDeviceGetPCIBusId(char* text, int room, int device) {
    snprintf(text, room, "0000:%02x:00.0", device + 1);
    return SUCCESS;
}

API Error cudaDeviceCanAccessPeer(int* can, int, int) { return *can = 0, SUCCESS; }

// -- the driver ------------------------------------------------------------------------------------

API Error cuInit(unsigned) { return SUCCESS; }
API Error cuDriverGetVersion(int* version) { return *version = VERSION, SUCCESS; }
API Error cuGetErrorName(Error error, const char** name) { return *name = name_of(error), SUCCESS; }
API Error cuGetErrorString(Error error, const char** text) {
    *text = text_of(error);
    return SUCCESS;
}

API Error cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API Error cuCtxSetCurrent(void*) { return SUCCESS; }
API Error cuCtxGetDevice(int* device) { return *device = current_device, SUCCESS; }

API Error cuCtxGetCurrent(void** context) {  // one for each device: anything that is not null
    *context = reinterpret_cast<void*>(size_t(1 + current_device));
    return SUCCESS;
}
