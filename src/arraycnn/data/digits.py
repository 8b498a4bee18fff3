"""The 1,797 handwritten digits that ship inside the package: no network, no files to place.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998, https://doi.org/10.24432/C50P49, CC BY 4.0 (`digits.LICENSE.txt`).
"""

from importlib import resources

import numpy as np

from arraycnn.data.dataset import DataSet

# The split was drawn once, as split_validation(labels, 360 / 1797, seed=SPLIT_SEED), and its result
# is stored in the file: NumPy may change what a seed draws, and results must stay comparable.
SPLIT_SEED = 1998


def load_digits() -> DataSet:
    """The UCI test digits as 8 x 8 images of one channel, 1,437 to train on and 360 to test.

    Images are uint8 (N, 8, 8, 1): the published values 0..16 as round(v * 255 / 16). Labels are
    int32 (N,). Each class has the same share of both parts, and the split never changes.
    """
    with (
        resources.files("arraycnn.data").joinpath("digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        images = arrays["images"][..., np.newaxis]
        labels = arrays["labels"].astype(np.int32)
        in_test = np.zeros(labels.size, dtype=bool)
        in_test[arrays["test_indices"]] = True
    return DataSet(
        name="digits",
        train_images=images[~in_test],
        train_labels=labels[~in_test],
        test_images=images[in_test],
        test_labels=labels[in_test],
        class_names=tuple("0123456789"),
    )
