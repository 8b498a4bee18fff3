// What the files of this library share: memory, streams, events, graphs, and what was asked of them.
//
// The rules are those of CUDA's manual. Where a program breaks one, the call returns CUDA's error and
// a line is added to `faults`, so that a test fails even where the program swallows the error.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

// The numbers that CUDA's runtime and driver have in common.
using Error = int;
constexpr Error SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONFIGURATION = 9;
constexpr Error INVALID_DEVICE = 101, INVALID_IMAGE = 200, INVALID_HANDLE = 400, NOT_FOUND = 500;
constexpr Error NOT_READY = 600, ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719, NOT_SUPPORTED = 801;
constexpr Error CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901, CAPTURE_UNMATCHED = 903;
constexpr Error CAPTURE_ISOLATION = 905, CAPTURE_IMPLICIT = 906;

namespace host_driver {

// -- what a test sets ------------------------------------------------------------------------------

extern bool lazy;         // streams work only where the program waits for them
extern int device_count;
extern size_t capacity;   // bytes of each device

// -- what a test is told ---------------------------------------------------------------------------

// One call into CUDA: holds the lock, and is counted, apart while a stream is being captured.
class Call {
public:
    explicit Call(const char* name);
    ~Call();
    Call(const Call&) = delete;
};
struct Count {
    long long all = 0, in_capture = 0;
};
extern std::map<std::string, Count> counts;
void count(const char* what);

extern std::vector<std::string> faults;
Error fault(Error error, const std::string& text);  // notes it, and returns ``error``

// -- devices and memory ----------------------------------------------------------------------------

constexpr int HOST = -1;  // the "device" of pinned memory
extern thread_local int current_device;

struct Block {
    size_t bytes;
    int device;
    long long number;  // another for each allocation, so that one at an old address is told apart
};
extern std::map<size_t, Block> memory;  // by address
std::map<size_t, Block>::iterator block_at(const void* address);  // or memory.end()
size_t used_on(int device);

// -- streams and events ----------------------------------------------------------------------------

struct Node {
    std::string kind;  // "kernel NAME", "copy" or "set"
    int device;
    std::function<void()> run;
    std::map<size_t, long long> blocks;  // the memory it uses: address and number
};
using Graph = std::vector<Node>;

enum CaptureMode { GLOBAL, THREAD_LOCAL, RELAXED };

struct Stream {
    bool blocking = true;  // waits for the legacy stream, and that for it
    bool is_default = false;  // a thread's own
    int device = 0;
    std::deque<std::function<void()>> queue;
    long long added = 0, done = 0;
    std::unique_ptr<Graph> capture;
    CaptureMode mode = RELAXED;
    bool invalid = false;  // a rule was broken during the capture
};

// A place in a stream: what was added before it is done, or not.
struct Moment {
    Stream* stream = nullptr;
    long long count = 0;
};

struct Event {
    Moment moment;
    int device;
};

extern std::set<Stream*> streams;  // without the legacy ones, with those of threads
extern std::set<Stream*> destroyed;  // of which some may have work to do
extern std::set<Event*> events;
extern std::set<Graph*> executables;
extern std::vector<std::string> last_graph;  // the nodes of the graph that was instantiated last
extern long long loaded_modules;

Stream* stream_of(void* handle);           // null where there is no such stream
bool is_legacy(const Stream* stream);
bool is_capturing();                       // any stream
void work_off(Stream* stream, long long until);
void finish(Stream* stream);
void finish_device(int device);
void finish_destroyed(int device, bool only_blocking);
Error add(Stream* stream, Node node);      // to its queue, or to the graph that it captures

// Errors for what must not be done while a stream is captured, which is invalid from then on.
Error refused_in_capture(Stream* stream, const char* what);
Error unsafe_in_capture(const char* what);  // where a capture is not relaxed

// What kernels that ran since have broken: told, as CUDA does, by the next call that waits.
extern Error pending;
Error told();

}  // namespace host_driver
