"""A peer of bench/cpu.py in a process of its own, with so many threads and cores."""

import os
import resource
import sys
import time

from harness import Worker, serve

# Images of the data set: a few batches of the largest size.
IMAGES = 4096


def start(peer, threads, python=sys.executable):
    """The process, ready to be asked."""
    return Worker([python, __file__, peer, str(threads)], environment(threads))


def environment(threads):
    """The variables that tell libraries how many threads are theirs, and to stay on the CPU."""
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "DEV": os.environ.get("DEV", "CPU"),  # tinygrad's
    }


def own_cores(threads):
    """Give this process so many cores: XLA has no thread setting that holds."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def work(peer, threads):
    """Answer commands until standard input ends."""
    own_cores(threads)
    import cpu_profile
    import peers
    from nets import dataset
    from peer_arraycnn import our_backend

    built = {}

    def parts(net, batch):
        if (net, batch) not in built:
            made = peers.peers(threads)[peer]
            built[net, batch] = made(net, batch, *dataset(net, IMAGES))
        return built[net, batch]

    def answer(command, net="a", batch=2, kind="train", seconds=0.0):
        step, predict = parts(net, batch)
        images, _ = dataset(net, IMAGES)
        if command == "warm" and kind == "train":
            return {"loss": step(2)}
        if command == "warm":
            return {"images": len(predict(images[:batch]))}
        if command == "train":
            steps = max(1, 256 // batch)
            rate = calls_a_second(lambda: step(steps), seconds)
            return {"images_per_second": rate * steps * batch}
        if command == "infer":
            rate = calls_a_second(lambda: predict(images[:batch]), seconds)
            return {"images_per_second": rate * batch}
        if command == "profile":
            return {"rows": cpu_profile.rows(our_backend(peer, threads), net, batch)}
        # "hello" has built a peer, which is all it wants to know.
        return {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}

    serve(answer)


def usable_cores():
    return len(os.sched_getaffinity(0))


def calls_a_second(function, seconds):
    """Of as many calls as fill ``seconds``, at least one."""
    began = time.perf_counter()
    calls, passed = 0, 0.0
    while passed <= seconds:
        function()
        calls += 1
        passed = time.perf_counter() - began
    return calls / passed


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]))
