"""The loss of classification: softmax and cross-entropy in one, from logits."""

from arraycnn.ops import GENERIC, Array, Kernels


def softmax_cross_entropy(
    logits: Array, labels: Array, ops: Kernels = GENERIC
) -> tuple[Array, Array]:
    """Mean cross-entropy of softmax(``logits``) against ``labels``, and its gradient.

    Parameters
    ----------
    logits : array, (N, K), floating
    labels : array, (N,), int32, each in [0, K); not checked here

    Returns
    -------
    loss : array, (), nats
    dlogits : array, (N, K)
    """
    count = logits.shape[0]
    loss_sum, dlogits, _ = ops.softmax_cross_entropy(logits, labels, count)
    return loss_sum / float(count), dlogits
