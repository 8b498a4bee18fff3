// Streams are queues. An eager one works at once; a lazy one only where the program waits for it, so
// that a wait that is missing shows as a wrong result.
#include "state.h"

namespace host_driver {

constexpr int MOST_DEVICES = 16;
static Stream legacy[MOST_DEVICES];
static thread_local Stream* of_this_thread[MOST_DEVICES];  // kept: events may point to it

static Stream* legacy_of(int device) {
    legacy[device].device = device;
    return &legacy[device];
}

bool is_legacy(const Stream* stream) { return stream >= legacy && stream < legacy + MOST_DEVICES; }

// A thread's own default stream: it and the legacy one wait for each other.
static Stream* per_thread_of(int device) {
    Stream*& stream = of_this_thread[device];
    if (!stream) {
        stream = new Stream;
        stream->device = device;
        stream->is_default = true;
        streams.insert(stream);
    }
    return stream;
}

Stream* stream_of(void* handle) {
    constexpr size_t LEGACY = 1, PER_THREAD = 2;  // the numbers that CUDA gives them; null is the first
    const size_t number = reinterpret_cast<size_t>(handle);
    if (number == PER_THREAD) return per_thread_of(current_device);
    if (number <= LEGACY) return legacy_of(current_device);
    Stream* stream = static_cast<Stream*>(handle);
    return streams.count(stream) ? stream : nullptr;
}

bool is_capturing() {
    for (const Stream* stream : streams)
        if (stream->capture) return true;
    return false;
}

void work_off(Stream* stream, long long until) {
    while (stream->done < until && !stream->queue.empty()) {
        const auto work = stream->queue.front();
        stream->queue.pop_front();
        ++stream->done;
        work();
    }
}

void finish(Stream* stream) { work_off(stream, stream->added); }

void finish_device(int device) {
    for (Stream* stream : streams)
        if (stream->device == device) finish(stream);
    finish_destroyed(device, false);
    finish(legacy_of(device));
}

void finish_destroyed(int device, bool only_blocking) {
    for (auto next = destroyed.begin(); next != destroyed.end();) {
        Stream* stream = *next++;
        if (stream->device != device || (only_blocking && !stream->blocking)) continue;
        finish(stream);
        destroyed.erase(stream);
    }
}

static void put(Stream* stream, std::function<void()> work) {
    stream->queue.push_back(std::move(work));
    ++stream->added;
    if (!lazy) finish(stream);
}

Error add(Stream* stream, Node node) {
    if (stream->capture) {
        if (stream->invalid) return CAPTURE_INVALIDATED;
        stream->capture->push_back(std::move(node));
        return SUCCESS;
    }
    if (is_legacy(stream)) {
        for (Stream* other : streams) {
            if (!other->blocking || other->device != stream->device) continue;
            if (other->capture) {
                refused_in_capture(other, "work on the legacy stream");
                return CAPTURE_IMPLICIT;
            }
            finish(other);
        }
        finish_destroyed(stream->device, true);
    } else if (stream->blocking) {
        finish(legacy_of(stream->device));
    }
    put(stream, std::move(node.run));
    return SUCCESS;
}

Error refused_in_capture(Stream* stream, const char* what) {
    if (!stream->capture) return SUCCESS;
    stream->invalid = true;
    return fault(CAPTURE_UNSUPPORTED, std::string(what) + " while a stream is captured");
}

Error unsafe_in_capture(const char* what) {
    for (Stream* stream : streams)
        if (stream->capture && stream->mode != RELAXED) return refused_in_capture(stream, what);
    return SUCCESS;
}

static Error no_stream(const char* what) {
    return fault(INVALID_HANDLE, std::string(what) + " of a stream that is not there");
}

}  // namespace host_driver

using namespace host_driver;

API Error cudaStreamCreateWithPriority(void** handle, unsigned flags, int) {
    Call call("cudaStreamCreateWithPriority");
    Stream* stream = new Stream;
    stream->blocking = !(flags & 1);
    stream->device = current_device;
    streams.insert(stream);
    *handle = stream;
    return SUCCESS;
}

API Error cudaStreamCreateWithFlags(void** handle, unsigned flags) {
    return cudaStreamCreateWithPriority(handle, flags, 0);
}

API Error cudaStreamCreate(void** handle) { return cudaStreamCreateWithPriority(handle, 0, 0); }

API Error cudaStreamDestroy(void* handle) {
    Call call("cudaStreamDestroy");
    Stream* stream = stream_of(handle);
    if (!stream || is_legacy(stream) || stream->is_default) return no_stream("cudaStreamDestroy");
    streams.erase(stream);  // which waits for nothing: it still works, and events may point to it
    destroyed.insert(stream);
    return SUCCESS;
}

API Error cudaStreamGetFlags(void* handle, unsigned* flags) {
    Stream* stream = stream_of(handle);
    if (!stream) return no_stream("cudaStreamGetFlags");
    *flags = !stream->blocking;
    return SUCCESS;
}

API Error cudaStreamGetPriority(void*, int* priority) { return *priority = 0, SUCCESS; }

API Error cudaStreamSynchronize(void* handle) {
    Call call("cudaStreamSynchronize");
    Stream* stream = stream_of(handle);
    if (!stream) return no_stream("cudaStreamSynchronize");
    if (Error error = refused_in_capture(stream, "cudaStreamSynchronize")) return error;
    if (is_legacy(stream)) {
        for (Stream* other : streams)
            if (other->blocking && other->device == stream->device && !other->capture) finish(other);
        finish_destroyed(stream->device, true);
    }
    finish(stream);
    return told();
}

API Error cudaStreamQuery(void* handle) {
    Call call("cudaStreamQuery");
    Stream* stream = stream_of(handle);
    if (!stream) return no_stream("cudaStreamQuery");
    if (Error error = refused_in_capture(stream, "cudaStreamQuery")) return error;
    return stream->done < stream->added ? NOT_READY : SUCCESS;
}

// -- events ----------------------------------------------------------------------------------------

static Event* event_of(void* handle) {
    Event* event = static_cast<Event*>(handle);
    return events.count(event) ? event : nullptr;
}

API Error cudaEventCreateWithFlags(void** handle, unsigned) {
    Call call("cudaEventCreateWithFlags");
    Event* event = new Event{{}, current_device};
    events.insert(event);
    *handle = event;
    return SUCCESS;
}

API Error cudaEventCreate(void** handle) { return cudaEventCreateWithFlags(handle, 0); }

API Error cudaEventDestroy(void* handle) {
    Call call("cudaEventDestroy");
    Event* event = event_of(handle);
    if (!event) return fault(INVALID_HANDLE, "an event is destroyed that is not there");
    events.erase(event);
    delete event;
    return SUCCESS;
}

API Error cudaEventRecord(void* handle, void* stream_handle) {
    Call call("cudaEventRecord");
    Event* event = event_of(handle);
    Stream* stream = stream_of(stream_handle);
    if (!event || !stream) return fault(INVALID_HANDLE, "an event or stream that is not there");
    if (event->device != stream->device)
        return fault(INVALID_HANDLE, "an event is recorded on a stream of another device");
    if (Error error = refused_in_capture(stream, "an event for streams outside")) return error;
    event->moment = {stream, stream->added};
    return SUCCESS;
}

API Error cudaStreamWaitEvent(void* handle, void* event_handle, unsigned) {
    Call call("cudaStreamWaitEvent");
    Event* event = event_of(event_handle);
    Stream* stream = stream_of(handle);
    if (!event || !stream) return fault(INVALID_HANDLE, "an event or stream that is not there");
    if (refused_in_capture(stream, "a wait for an event from outside")) return CAPTURE_ISOLATION;
    const Moment moment = event->moment;  // as it is now, whatever it is recorded for later
    if (moment.stream) put(stream, [moment] { work_off(moment.stream, moment.count); });
    return SUCCESS;
}

API Error cudaEventSynchronize(void* handle) {
    Call call("cudaEventSynchronize");
    Event* event = event_of(handle);
    if (!event) return fault(INVALID_HANDLE, "a wait for an event that is not there");
    if (Error error = unsafe_in_capture("cudaEventSynchronize")) return error;
    if (event->moment.stream) work_off(event->moment.stream, event->moment.count);
    return told();
}

API Error cudaEventQuery(void* handle) {
    Call call("cudaEventQuery");
    Event* event = event_of(handle);
    if (!event) return fault(INVALID_HANDLE, "an event is asked that is not there");
    const Moment& moment = event->moment;
    return moment.stream && moment.stream->done < moment.count ? NOT_READY : SUCCESS;
}

API Error cudaEventElapsedTime(float* milliseconds, void*, void*) {  // there is no device to time
    *milliseconds = 1.0f;
    return SUCCESS;
}
