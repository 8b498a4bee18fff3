"""Launch code of loss.cu: softmax and its cross-entropy. Contracts in `arraycnn.ops.generic`."""

from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.checks import check_shape, of_dtype
from arraycnn.ops.cuda.launcher import MOST_THREADS, WARP, Launcher, blocks, c_name

_THREADS = 256

_MOST_IMAGES_A_BLOCK = 128
"""Up to that one block takes them all: four rows a warp cost less than a second kernel."""

_MOST_BLOCKS = 1024


def softmax(launcher: Launcher, x: Array) -> Array:
    (x,) = launcher.floating("softmax", x)
    y = launcher.empty(x.shape, x.dtype)
    rows = x.size // max(x.shape[-1], 1)
    launcher.launch(
        "loss",
        f"softmax<{c_name(x)}>",
        (blocks(rows, _THREADS // WARP),),
        (_THREADS,),
        (x, y, rows, x.shape[-1]),
    )
    return y


def softmax_cross_entropy(
    launcher: Launcher, logits: Array, labels: Array, batch_size: int
) -> tuple[Array, Array, Array]:
    owner = "softmax_cross_entropy"
    (logits,) = launcher.floating(owner, logits)
    (labels,) = of_dtype(launcher, owner, ("int32",), labels)
    images, classes = logits.shape
    check_shape(f"{owner}: labels", labels, (images,))
    dlogits = launcher.empty(logits.shape, logits.dtype)
    loss_sum, correct = launcher.empty((), logits.dtype), launcher.empty((), "int32")
    if images <= _MOST_IMAGES_A_BLOCK:
        count, threads = 1, min(max(images, 1) * WARP, MOST_THREADS)
        losses, is_correct = loss_sum, correct
    else:
        count, threads = min(blocks(images, _THREADS // WARP), _MOST_BLOCKS), _THREADS
        losses, is_correct = (
            launcher.empty((count,), logits.dtype),
            launcher.empty((count,), "int32"),
        )
    launcher.launch(
        "loss",
        f"softmax_cross_entropy<{c_name(logits)}>",
        (count,),
        (threads,),
        (logits, labels, dlogits, losses, is_correct, images, classes, batch_size),
    )
    if count > 1:
        launcher.launch(
            "loss",
            f"sum_losses<{c_name(logits)}>",
            (1,),
            (_THREADS,),
            (losses, is_correct, loss_sum, correct, count),
        )
    return loss_sum, dlogits, correct
