"""Augmented images have the same bits on every engine and library, whatever the number of threads."""

import numpy as np
import pytest

import arraycnn as cnn
import program_cases
import random_networks
from arraycnn.layers.layer import Context, Randomness
from arraycnn.ops import GENERIC
from arraycnn.ops.random_bits import seed_words
from arraycnn.program.heads import HEADS
from arraycnn.program.passes.schedule import scheduled
from arraycnn.program.passes.simplify import simplified
from cuda_rendering import CHECKED, rendered
from optional import needs
from random_words import FIRST_INDEX, SEED, STEP
from test_program_trace import traced

RNG = np.random.default_rng(7)
LAYERS = [
    cnn.HorizontalFlip(),
    cnn.RandomShift((2, 1), fill=7),
    cnn.RandomCrop(3, fill="reflect"),
    cnn.Cutout(3, 0.8, fill=1),
    cnn.RandomErasing(0.8),
    cnn.RandomBrightness(0.4),
    cnn.RandomContrast(0.7),
    cnn.RandomAffine(60.0, (0.7, 1.5), 20.0, 0.1, fill=9),
    cnn.RandomAffine(170.0, fill="edge"),
    cnn.ElasticDeformation(3.0, 3),
]
ARRAYS = [
    RNG.integers(0, 256, (5, 8, 7, 3), dtype=np.uint8),
    seed_words(SEED),
    np.array([STEP], np.int32),
    np.arange(5, dtype=np.int32) + FIRST_INDEX,
]


def images_of(kernels):
    """``function(x, seed, step, indices)`` of all layers."""

    def run(x, *randomness):
        context = Context(kernels, "train", "float32", Randomness(*randomness))
        return tuple(
            layer.forward({}, {}, x, context.inside(str(number)))[0]
            for number, layer in enumerate(LAYERS)
        )

    return run


@pytest.fixture(scope="module")
def expected():
    images = images_of(GENERIC)(*ARRAYS)
    assert all((image != ARRAYS[0]).any() for image in images)
    return images


@pytest.fixture(scope="module")
def program():
    program, values = traced(images_of(HEADS), *ARRAYS)
    return scheduled(simplified(program)), values


ENGINES = {
    "numpy": random_networks.on_numpy,
    "compiled": random_networks.on_kernels,
    "cuda": lambda schedule, values, threads: rendered(schedule, values, CHECKED),
}


@pytest.mark.parametrize(
    ("engine", "threads"),
    [
        ("numpy", 3),
        pytest.param("compiled", 1, marks=needs("llvmlite")),
        pytest.param("compiled", 3, marks=needs("llvmlite")),
        ("cuda", 1),
    ],
)
def test_bytes_are_the_same_on_every_engine(engine, threads, program, expected):
    schedule, values = program
    found = ENGINES[engine](schedule, {name: a.copy() for name, a in values.items()}, threads)
    for number, images in enumerate(expected):
        np.testing.assert_array_equal(found[str(number)], images, err_msg=repr(LAYERS[number]))


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_bytes_are_the_same_in_every_library(name, request, expected):
    library = request.getfixturevalue(name)
    run = images_of(GENERIC)
    if name == "jax":
        found = library.jit(run)(*map(library.numpy.asarray, ARRAYS))
    else:
        found = run(*map(library.asarray, ARRAYS))
    for number, images in enumerate(expected):
        np.testing.assert_array_equal(found[number], images, err_msg=repr(LAYERS[number]))


@pytest.mark.parametrize("engine", ["numpy", pytest.param("compiled", marks=needs("llvmlite"))])
def test_what_is_read_at_places_is_not_computed_again_there(engine):
    """A mirrored image would be cheap to compute again, if the next layer did not take its pixels."""

    def run(x, *randomness):
        context = Context(kernels, "train", "float32", Randomness(*randomness))
        for layer in (cnn.HorizontalFlip(), cnn.RandomCrop(2), cnn.RandomBrightness()):
            x, _, _ = layer.forward({}, {}, x, context)
        return (x,)

    kernels = GENERIC
    (expected,) = run(*ARRAYS)
    kernels = HEADS
    with program_cases.on_small_sizes():
        program, values = traced(run, *ARRAYS)
        schedule = scheduled(simplified(program))
        found = ENGINES[engine](schedule, values, 1)
    np.testing.assert_array_equal(found["0"], expected)
