"""The kernels that networks start are found by their planner, and what is wrong with one is said."""

import pytest

import cuda_planned
from arraycnn.ops.cuda.sources import generated
from cuda_planned import Planned, main, planned, wrong_on
from cuda_table import Launches
from launches import launches_of_step, run_step
from optional import needs
from test_cuda_graph import Recorder


class Starter(Recorder):
    """Notes what it starts."""

    def start(self, file, kernel, grid, block, args, shared):
        super().start(file, kernel, grid, block, args, shared)
        if self.launches is not None:
            self.noted = [launch[:4] for launch in self.launches]


@pytest.mark.parametrize("net", ["a", "norm"])
def test_what_is_noted_is_what_a_launcher_starts_that_computes(net):
    launcher = Starter()
    run_step(launcher, net, 2, "fp32")
    noted = [
        (one.file, one.kernel, one.grid, one.block) for one in launches_of_step(net, 2, "fp32")
    ]
    assert noted == launcher.noted


def test_the_planner_says_what_it_starts():
    cells = [("b", "tf32", 4), ("b", "fp32", 4), ("norm", "fp32", 4)]
    found = planned(cells)
    assert list(found) == sorted(found)
    products = [
        row for (_, kernel), row in found.items() if kernel.startswith("matmul<Mma<RoundedTf32")
    ]
    assert products
    for row in products:
        assert row.networks == {"b"}
    of_both = [row for row in found.values() if row.networks == {"b", "norm"}]
    assert any(row.launches.count >= len(cells) for row in of_both)
    assert all(row.launches.threads % 32 == 0 for row in found.values())


def test_what_is_no_number_is_no_architecture():
    with pytest.raises(SystemExit, match="for these architectures"):
        main(["sm_90"])


SPILLS = """
__global__ void __launch_bounds__(1024, 2) kernel(float* x) {
    float held[64];
    #pragma unroll
    for (int i = 0; i < 64; ++i) held[i] = x[i * 1024 + threadIdx.x];
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < 64; ++i) x[i * 1024 + threadIdx.x] = held[63 - i] * held[i];
}
"""


@pytest.mark.usefixtures("device_compiler")
class TestOfADevice:
    pytestmark = needs("cupy")

    def test_a_step_compiles(self, monkeypatch, capsys):
        monkeypatch.setattr("roofline.CELLS", [("a", "fp32", 64)])
        with pytest.raises(SystemExit) as ended:
            main([])
        assert ended.value.code == 0
        head, _, *rows = capsys.readouterr().out.splitlines()
        kernels = {(one.file, one.kernel) for one in launches_of_step("a", 64, "fp32")}
        assert head == f"{len(kernels)} kernels of 1 networks, precisions and batch sizes"
        assert len(rows) == len(kernels)

    @pytest.mark.parametrize(
        ("text", "launches", "wrong"),
        [
            (SPILLS, Launches(1, 1024, 0), "on sm_90: spills"),
            (SPILLS, Launches(1, 1024, 0), "accesses to local memory"),
            ("__global__ void kernel() { missing(); }", Launches(1, 32, 0), 'identifier "missing"'),
            (
                "__global__ void __launch_bounds__(64) kernel() {}",
                Launches(1, 128, 0),
                "is launched with 128 threads, takes at most 64",
            ),
        ],
    )
    def test_a_kernel_that_no_device_runs_well_ends_with_1(
        self, monkeypatch, capsys, text, launches, wrong
    ):
        kernels = {(generated(text), "kernel"): Planned(launches, {"net"})}
        assert any(wrong in one for one in wrong_on(90, kernels))
        monkeypatch.setattr(cuda_planned, "planned", lambda cells: kernels)
        with pytest.raises(SystemExit) as ended:
            main(["90"])
        assert ended.value.code == 1
        assert "WRONG" in capsys.readouterr().out
