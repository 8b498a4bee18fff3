// Stream capture, and the graphs that it makes.
#include "state.h"

using namespace host_driver;

API Error cudaStreamBeginCapture(void* handle, int mode) {
    Call call("cudaStreamBeginCapture");
    Stream* stream = stream_of(handle);
    if (!stream) return fault(INVALID_HANDLE, "a stream is captured that is not there");
    if (is_legacy(stream)) return fault(CAPTURE_UNSUPPORTED, "the legacy stream cannot be captured");
    if (stream->capture) return fault(INVALID_VALUE, "a stream is captured twice at a time");
    if (mode < GLOBAL || mode > RELAXED) return fault(INVALID_VALUE, "no such mode of capture");
    stream->capture = std::make_unique<Graph>();
    stream->mode = static_cast<CaptureMode>(mode);
    const char* names[] = {"capture-global", "capture-thread-local", "capture-relaxed"};
    count(names[stream->mode]);
    stream->invalid = false;
    return SUCCESS;
}

API Error cudaStreamEndCapture(void* handle, void** graph) {
    Call call("cudaStreamEndCapture");
    *graph = nullptr;
    Stream* stream = stream_of(handle);
    if (!stream || !stream->capture) return fault(CAPTURE_UNMATCHED, "no capture was begun");
    auto captured = std::move(stream->capture);
    if (stream->invalid) return CAPTURE_INVALIDATED;
    *graph = captured.release();
    return SUCCESS;
}

API Error cudaStreamIsCapturing(void* handle, int* status) {
    Call call("cudaStreamIsCapturing");
    enum { NONE, ACTIVE, INVALIDATED };
    Stream* stream = stream_of(handle);
    if (!stream) return fault(INVALID_HANDLE, "a stream is asked that is not there");
    *status = !stream->capture ? NONE : stream->invalid ? INVALIDATED : ACTIVE;
    return SUCCESS;
}

API Error cudaGraphInstantiate(void** executable, void* graph, unsigned long long) {
    Call call("cudaGraphInstantiate");
    if (Error error = unsafe_in_capture("cudaGraphInstantiate")) return error;
    Graph* made = new Graph(*static_cast<Graph*>(graph));
    executables.insert(made);
    last_graph.clear();
    for (const Node& node : *made) last_graph.push_back(node.kind);
    *executable = made;
    return SUCCESS;
}

API Error cudaGraphUpload(void*, void*) { return SUCCESS; }

API Error cudaGraphLaunch(void* handle, void* stream_handle) {
    Call call("cudaGraphLaunch");
    Graph* graph = static_cast<Graph*>(handle);
    Stream* stream = stream_of(stream_handle);
    if (!stream || !executables.count(graph))
        return fault(INVALID_HANDLE, "a graph or stream that is not there");
    if (Error error = refused_in_capture(stream, "the launch of a graph")) return error;
    for (const Node& node : *graph) {
        if (node.device != stream->device)
            return fault(INVALID_VALUE, node.kind + " of a graph is launched on another device");
        for (const auto& [address, number] : node.blocks) {
            const auto found = memory.find(address);
            if (found == memory.end() || found->second.number != number)
                return fault(ILLEGAL_ADDRESS, node.kind + " of a graph uses memory that was freed");
        }
    }
    const Graph nodes = *graph;  // which may be destroyed before a lazy stream comes to it
    const auto run = [nodes] {
        for (const Node& node : nodes) node.run();
    };
    return add(stream, {"graph", stream->device, run, {}});
}

API Error cudaGraphDestroy(void* graph) {
    Call call("cudaGraphDestroy");
    delete static_cast<Graph*>(graph);
    return SUCCESS;
}

API Error cudaGraphExecDestroy(void* handle) {
    Call call("cudaGraphExecDestroy");
    Graph* graph = static_cast<Graph*>(handle);
    if (!executables.erase(graph)) return fault(INVALID_HANDLE, "a graph is destroyed twice");
    delete graph;
    return SUCCESS;
}
