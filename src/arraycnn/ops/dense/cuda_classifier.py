"""Launch code of classifier.cu: the dense layer before the loss, and the loss, in one."""

from typing import Any

from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.launcher import Launcher, blocks, c_name

_THREADS = 256  # as in classifier.cu
_SUM_THREADS = 64  # fewer a block, so that a small layer's sums are on many multiprocessors
_MOST_CLASSES = 128

_MOST_IMAGES = 256
"""Above that, sums over the images deserve more threads than one for each weight."""

_MOST_WEIGHTS = 2**20


def dense_cross_entropy(
    launcher: Launcher,
    ops: Any,
    x: Array,
    weight: Array,
    bias: Array | None,
    labels: Array,
    batch_size: int,
) -> tuple[Array, Array, Array, Array, Array]:
    """`dense`, `softmax_cross_entropy` and `dense_backward`, for (N, I) times (I, K).

    Returns (loss_sum, correct, dx, dweight, dbias).
    """
    (images, inputs), classes = x.shape, weight.shape[1]
    fits = 0 < images <= _MOST_IMAGES and classes <= _MOST_CLASSES and weight.size <= _MOST_WEIGHTS
    if not fits:
        logits = ops.dense(ops, x, weight, bias)
        loss_sum, dlogits, correct = ops.softmax_cross_entropy(logits, labels, batch_size)
        return loss_sum, correct, *ops.dense_backward(ops, x, weight, dlogits, True)
    learned = (weight,) if bias is None else (weight, bias)
    x, weight, *biases = launcher.floating("dense_cross_entropy", x, *learned)
    launcher.ours("dense_cross_entropy", labels)
    dlogits, dx = launcher.empty((images, classes), x.dtype), launcher.empty(x.shape, x.dtype)
    losses, is_correct = launcher.empty((images,), x.dtype), launcher.empty((images,), "int32")
    launcher.launch(
        "classifier",
        f"classify<{c_name(x)}>",
        (images,),
        (_THREADS,),
        (
            *(x, weight, biases[0] if biases else None, launcher.contiguous(labels)),
            *(dlogits, dx, losses, is_correct, inputs, classes, batch_size),
        ),
    )
    dweight, dbias = launcher.empty(weight.shape, x.dtype), launcher.empty((classes,), x.dtype)
    loss_sum, correct = launcher.empty((), x.dtype), launcher.empty((), "int32")
    launcher.launch(
        "classifier",
        f"classify_sums<{c_name(x)}>",
        (blocks(weight.size + classes, _SUM_THREADS) + 1,),
        (_SUM_THREADS,),
        (
            *(x, dlogits, losses, is_correct, dweight, dbias, loss_sum, correct),
            *(images, inputs, classes),
        ),
    )
    return loss_sum, correct, dx, dweight, dbias
