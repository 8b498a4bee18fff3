"""A peer of bench/cpu.py in a process of its own, with so many threads and cores."""

import os
import resource
import sys
import time

from harness import Worker, serve

# Images of the data set: a few batches of the largest size.
IMAGES = 4096


def start(peer, threads):
    """The process, ready to be asked."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}",
        "JAX_PLATFORMS": "cpu",
    }
    return Worker([sys.executable, __file__, peer, str(threads)], environment)


def work(peer, threads):
    """Answer commands until standard input ends."""
    # XLA has no thread setting that holds: the process gets so many cores.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import cpu_profile
    import peers
    from nets import dataset

    built = {}

    def parts(net, batch):
        if (net, batch) not in built:
            built[net, batch] = peers.peers(threads)[peer](net, batch, *dataset(net, IMAGES))
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
            return {"rows": cpu_profile.rows(peers.our_backend(peer, threads), net, batch)}
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
