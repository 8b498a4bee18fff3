"""What augmentation costs in training, and the same in PyTorch with torchvision.transforms.v2.

    python bench/augmentation.py                      # all, in turn, the processor's seconds
    python bench/augmentation.py --images 4096 --rounds 3 --only affine

LeNet-5 with Adam on 28x28 bytes in batches of 64, one thread. "of plain" is the time of a training
with augmentation to one without, by arraycnn; "torch" that of PyTorch with the same augmentation of the
whole batch at once, which draws one change for all of its images where arraycnn draws one for each.
torchvision is needed for it (pip install torchvision --no-deps, of the version for the torch that is
there); without it that column stays empty. The median over rounds in turn.
"""

import argparse
import contextlib
import importlib.util
import time
from statistics import median

import numpy as np

import arraycnn as cnn
from arraycnn import networks
from arraycnn.model.with_augmentation import with_augmentation

BATCH = 64
LAYERS = {
    "plain": (),
    "shift": (cnn.RandomCrop(2),),
    "affine": (cnn.RandomAffine(10.0, (0.9, 1.1), 5.0, 0.1),),
    "erasing": (cnn.RandomErasing(0.5),),
    "flip": (cnn.HorizontalFlip(),),
}


def main() -> None:
    """Measure in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(LAYERS), help="plain is always measured")
    args = parser.parse_args()
    names = [name for name in LAYERS if name == "plain" or name in args.only.split(",")]
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (args.images, 28, 28, 1), dtype=np.uint8)
    y = rng.integers(0, 10, args.images)
    ours = {name: _ours(LAYERS[name], x, y) for name in names}
    theirs = _theirs(names, x, y) if importlib.util.find_spec("torchvision") else {}
    seconds: dict[tuple[str, str], list[float]] = {}
    for done in range(args.rounds + 1):
        for engine, trainings in (("arraycnn", ours), ("torch", theirs)):
            for name, train in trainings.items():
                began = time.process_time()
                train()
                if done:  # the first compiles
                    taken = time.process_time() - began
                    seconds.setdefault((engine, name), []).append(taken)
    print("| | us an image | of plain | torch, us an image | torch / arraycnn |")
    print("| --- | --- | --- | --- | --- |")
    plain = median(seconds["arraycnn", "plain"])
    for name in names:
        own = median(seconds["arraycnn", name])
        other = median(seconds["torch", name]) if theirs else None
        last = "" if other is None else f"{other / args.images * 1e6:,.1f} | {other / own:.1f}"
        print(f"| {name} | {own / args.images * 1e6:,.1f} | {own / plain:.2f} | {last or ' | '} |")


def _ours(layers, x, y):
    model = cnn.Model(networks.lenet5(), (28, 28, 1), cnn.NumPy(threads=1))
    model = with_augmentation(model, *layers)

    def train():
        model.fit(x, y, batch_size=BATCH, optimizer=cnn.Adam(0.001))

    return train


def _theirs(names, x, y):
    import torch
    from torch import nn

    torch.set_num_threads(1)
    for name in (
        "nms",
        "qnms",
    ):  # where its compiled part is for another torch: no transform needs it
        with contextlib.suppress(RuntimeError):
            torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
    from torchvision.transforms import v2

    transforms = {
        "plain": nn.Identity(),
        "shift": v2.RandomCrop(28, padding=2),
        "affine": v2.RandomAffine(
            10.0, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=5.0,
            interpolation=v2.InterpolationMode.BILINEAR,
        ),
        "erasing": v2.RandomErasing(0.5, (0.02, 0.33), (0.3, 3.3)),
        "flip": v2.RandomHorizontalFlip(),
    }  # fmt: skip
    images = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    labels = torch.from_numpy(y)

    def training(transform):
        network = nn.Sequential(
            *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
        )
        rule, loss = torch.optim.Adam(network.parameters(), 0.001), nn.CrossEntropyLoss()

        def train():
            for chosen in torch.randperm(len(images)).split(BATCH):
                batch = transform(images[chosen]).to(torch.float32) / 255.0 - 0.5
                rule.zero_grad(set_to_none=True)
                loss(network(batch), labels[chosen]).backward()
                rule.step()

        return train

    return {name: training(transforms[name]) for name in names}


if __name__ == "__main__":
    main()
