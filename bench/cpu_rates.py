"""The sections of bench/cpu.py that ask its workers: what is measured, and in which order.

Each is a function (options) -> (result, {what: why it was not measured}), and prints what it finds.
Rounds are interleaved (all once, then again), so that a machine's slow moments fall on all.
"""

import sys
from statistics import median

from cpu_worker import start
from nets import NETS
from peers import OURS

ALIKE = 0.01  # how far two peers' losses after the same steps may lie apart, relatively


class Workers:
    """Peers that are ready: {name: (peer, threads)}.

    ``losses`` has what each training, a (net, batch), gave where it was run first: the others must
    come to the same. ``errors`` has what did not work.
    """

    def __init__(self, wanted, options):
        self._workers = {
            name: start(*peer, options.pythons.get(peer[0], sys.executable))
            for name, peer in wanted.items()
        }
        self._options = options
        self.losses = {}
        self.errors = {name: w.error for name, w in self._workers.items() if w.error}

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        for worker in self._workers.values():
            worker.close()

    def ask(self, name, command, **cell):
        """The answer of ``name``; None where it failed, now or at its start."""
        if name in self.errors:
            return None
        seconds = self._options.seconds
        answer = self._workers[name].ask(command=command, seconds=seconds, **cell)
        if "error" in answer:
            self.errors[" ".join([name, command, *map(str, cell.values())])] = answer["error"]
            return None
        return answer

    def rates(self, kind, net, batches):
        """{name: {batch size, a str: [images a second of each round]}} of those that can do it."""
        cells = [
            (name, batch)
            for name in self._workers
            for batch in batches
            if self._is_warm(name, kind, net, batch)
        ]
        found = {name: {str(b): [] for n, b in cells if n == name} for name, _ in cells}
        for _ in range(self._options.rounds):
            for name, batch in cells:
                if answer := self.ask(name, kind, net=net, batch=batch):
                    found[name][str(batch)].append(answer["images_per_second"])
        return found

    def _is_warm(self, name, kind, net, batch):
        """Whether it has done it once, and with the result of the others."""
        answer = self.ask(name, "warm", net=net, batch=batch, kind=kind)
        if answer is None or kind != "train":
            return answer is not None
        loss = answer["loss"]
        expected = self.losses.setdefault((net, batch), loss)
        if abs(loss - expected) <= ALIKE * abs(expected):
            return True
        self.errors[f"{name} train {net} {batch}"] = (
            f"its loss is {loss:.4f}, another's {expected:.4f}: not the same training"
        )
        return False


def each(options):
    return {peer: (peer, options.threads) for peer in options.peers}


def ours(options):
    return [peer for peer in options.peers if peer in OURS]


def training(options):
    """{"train NET BATCH": {peer: rates}}."""
    return _cells(options, "train", lambda net: options.batches or NETS[net].batches)


def inference(options):
    """{"infer NET BATCH": {peer: rates}}: one image from the host and back, and many."""
    return _cells(options, "infer", lambda net: (1, 1024))


def _cells(options, kind, batches):
    result = {}
    with Workers(each(options), options) as workers:
        for net in options.nets:
            for batch in batches(net):
                found = workers.rates(kind, net, (batch,))
                cell = {peer: rates[str(batch)] for peer, rates in found.items()}
                result[f"{kind} {net} {batch}"] = cell
                _show(f"{kind} {net} {batch:>5}", cell)
    return result, workers.errors


def memory(options):
    """{"NET BATCH": {peer: MiB}}: the peak of a fresh process that trains nothing but that cell."""
    result, errors = {}, {}
    for net in options.nets:
        cell = result[f"{net} 256"] = {}
        for peer, given in each(options).items():
            with Workers({peer: given}, options) as workers:
                if workers.ask(peer, "warm", net=net, batch=256):
                    workers.ask(peer, "train", net=net, batch=256)
                    if answer := workers.ask(peer, "memory", net=net, batch=256):
                        cell[peer] = answer["peak_mib"]
            errors |= workers.errors
        print(f"peak MiB {net} 256   " + "   ".join(f"{n} {p:.0f}" for n, p in cell.items()))
    return result, errors


def threads(options):
    """{"NET BATCH": {peer: {threads: rates}}}: ours on 1, 2, 4, ... threads, each with its core."""
    most = options.threads
    counts = sorted({2**power for power in range(most.bit_length())} | {most})
    wanted = {f"{peer} on {count}": (peer, count) for peer in ours(options) for count in counts}
    result = {}
    with Workers(wanted, options) as workers:
        for net in options.nets:
            for batch in (1, 256):
                found = workers.rates("train", net, (batch,))
                cell = result[f"{net} {batch}"] = {}
                for name, rates in found.items():
                    peer, count = name.split(" on ")
                    cell.setdefault(peer, {})[count] = rates[str(batch)]
                for peer, by_count in cell.items():
                    _show(f"threads {net} {batch:>5} {peer}", by_count)
    return result, workers.errors


def batch_sizes(options):
    """{NET: {peer: {batch: rates}}}: ours, batch sizes interleaved."""
    result = {}
    with Workers({peer: (peer, options.threads) for peer in ours(options)}, options) as workers:
        for net in options.nets:
            result[net] = workers.rates("train", net, (1, 4, 16, 64, 256, 1024, 4096))
            for peer, by_batch in result[net].items():
                _show(f"batch size {net} {peer}", by_batch)
    return result, workers.errors


def profile(options):
    """{"NET BATCH": {peer: {"rows": kernels, "step": microseconds an image}}}, on one thread."""
    result = {}
    with Workers({peer: (peer, 1) for peer in ours(options)}, options) as workers:
        for net in options.nets:
            for batch in (1, 64):
                rates = workers.rates("train", net, (batch,))
                cell = result[f"{net} {batch}"] = {}
                for peer in rates:
                    if answer := workers.ask(peer, "profile", net=net, batch=batch):
                        step = 1e6 / median(rates[peer][str(batch)])
                        cell[peer] = {"step": step, "rows": answer["rows"]}
                        _show_profile(f"profile {net} {batch:>5} {peer}", **cell[peer])
    return result, workers.errors


def _show(title, cell):
    """A line of medians, with the lowest and the highest."""
    columns = [
        f"{name} {median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f})"
        for name, rates in cell.items()
        if rates
    ]
    print(f"{title}   " + "   ".join(columns), flush=True)


def _show_profile(title, step, rows):
    total = sum(row["microseconds"] for row in rows)
    print(f"{title}   a step {step:.1f} us an image, its kernels {total:.1f}, the rest is loops:")
    for row in rows:
        share = row["microseconds"] / total
        shape = "x".join(map(str, row["shape"]))
        print(f"    {share:>4.0%} {row['microseconds']:>9.2f} us   {row['kernel']} {shape}")
