"""The remedies that no test can follow, and why: a list that may become shorter, never longer.

Beside it those that a test of another file follows, since it has the machine that they are about.
"""

from remedies.listing import Remedy

_HARDWARE = "needs a CUDA device, or a driver, in the state that the message is about"
_INSTALL = (
    "would install or remove packages; tests/backends/test_cupy_probe.py provokes the message"
)
_INSTALL_FONT = "would install a font; tests/test_names.py provokes the message"
_LARGE = "needs an array of 2^31 numbers; tests of the kernel provoke the message"
_SYSTEM = "is about the machine: other programs, its disk, its network"

EXEMPT: dict[Remedy, str] = {
    Remedy("backends/cuda_probe.py", "end other programs on it (nvidia-smi)"): _HARDWARE,
    Remedy("backends/cuda_probe.py", "check the driver and the device with nvidia-smi"): _HARDWARE,
    Remedy("backends/cuda_probe.py", "pip uninstall -y {}, then {}"): _INSTALL,
    Remedy("backends/cuda_probe.py", "reinstall it: pip uninstall -y {}, then {}"): _INSTALL,
    Remedy("backends/cuda_probe.py", "unset it or name a device, for example 0"): _HARDWARE,
    Remedy(
        "backends/cuda_probe.py", "install one (nvidia-smi shows it), or use the backend numpy"
    ): _HARDWARE,
    Remedy("backends/cuda_probe.py", "update the driver{}"): _HARDWARE,
    Remedy(
        "backends/cuda_probe.py", "check that nvidia-smi lists one, or use the backend numpy"
    ): _HARDWARE,
    Remedy("backends/cuda_probe.py", "nvidia-smi lists them"): _HARDWARE,
    Remedy("backends/cuda_probe.py", "install CUDA's compiler with CuPy: {}"): _INSTALL,
    Remedy(
        "backends/cuda_probe.py", "check the driver with nvidia-smi, or use the backend numpy"
    ): _HARDWARE,
    Remedy("backends/cupy.py", "use fp32"): _HARDWARE,
    Remedy("ops/conv2d/cuda.py", "use smaller images"): _LARGE,
    Remedy("ops/max_pool2d/cuda.py", "use smaller images"): _LARGE,
    Remedy(
        "training/machine_failures.py",
        "what was on it is lost, and this process cannot use it again: check it with nvidia-smi, "
        "and go on from the last save in a new process",
    ): _HARDWARE,
    Remedy("report/names.py", "install a font that has them, such as Noto Sans"): _INSTALL_FONT,
    Remedy(
        "training/machine_failures.py",
        "end other programs, or use fewer or smaller images, or a smaller network",
    ): _SYSTEM,
    Remedy(
        "training/machine_failures.py",
        "not even one image fits: free memory, or use smaller images or networks",
    ): _SYSTEM,
}

MOST_EXEMPT = 18

ELSEWHERE: dict[Remedy, str] = {
    Remedy(
        "storage/model_file.py",
        "this is {}: its training goes on, but may not go on to the same bit",
    ): "storage/test_saved.py::test_a_training_of_other_versions_says_that_bits_may_differ",
    Remedy(
        "model/distribution_shift.py", "of the training images {}: scale both in one way"
    ): "model/test_distribution_shift.py::test_scaled_as_told_they_pass_in_silence",
    Remedy(
        "model/distribution_shift.py", "pass 255 - images"
    ): "model/test_distribution_shift.py::test_another_background",
    Remedy(
        "backends/cupy.py",
        "use CuPy(graph=False), as train --no-graph does",
    ): "execution/test_cuda_refusals.py::test_products_that_cannot_be_recorded_are_called_in_turn",
    Remedy(
        "backends/cupy.py",
        'pip install "{}[ctk]" brings it, and context.ops.matmul multiplies without it',
    ): "execution/test_cuda_refusals.py::test_products_that_cannot_be_recorded_are_called_in_turn",
    Remedy("estimator/classifier.py", "give them as fit had them"): (
        "data/test_sampling.py::test_the_estimator_refuses_to_score_classes_of_which_it_knows_none"
    ),
    Remedy("program/render/values.py", "write {}"): (
        "program/test_program_render.py::"
        "test_a_remainder_of_floating_numbers_has_no_code_and_says_what_has"
    ),
    Remedy("program/render/cuda/pointwise.py", "write {}"): (
        "program/test_program_cuda.py::"
        "test_a_remainder_of_floating_numbers_has_no_code_and_says_what_has"
    ),
    Remedy("ops/compiled/caching.py", "it runs all the same"): (
        "ops/test_kernel_cache.py::test_a_full_disk_is_said_once_and_stops_nothing"
    ),
    Remedy("ops/compiled/caching.py", "set ARRAYCNN_KERNELS to a folder that you may write"): (
        "ops/test_kernel_cache.py::"
        "test_where_that_folder_is_not_ours_nothing_is_kept_and_nothing_in_it_is_run"
    ),
}
