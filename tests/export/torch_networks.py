"""The modules of torchvision, akamaster, chenyaofo and kuangliu, written again: keys and arithmetic.

`TORCHVISION` holds digests of the keys and shapes that torchvision 0.29 itself has, in their order.
"""

import hashlib
from types import ModuleType
from typing import Any

TORCHVISION = {
    "resnet18": "84fb10d9c6905a1c",
    "resnet34": "28f9096d51307499",
    "resnet50": "d7e4f8bb0a536344",
    "vgg11": "cb3dc23f2a13e182",
    "vgg11_bn": "8b6717e727c0ecf9",
    "vgg13": "67c1dc8b57fde74b",
    "vgg13_bn": "f6b0597d18a7e4d2",
    "vgg16": "35c4623e0cd4a39d",
    "vgg16_bn": "347371586a8ea365",
}


def digest(module: Any) -> str:
    lines = [f"{key} {tuple(array.shape)}" for key, array in module.state_dict().items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def resnet(
    torch: ModuleType,
    blocks: tuple[int, ...],
    width: int,
    classes: int,
    *,
    narrow: bool = False,
    stem: int = 7,
    around: str = "downsample",
    last: str = "fc",
    channels: int = 3,
) -> Any:
    """``around`` is the name of the shortcuts, or "" for every second pixel and channels of zeros."""
    nn, F = torch.nn, torch.nn.functional
    expansion = 4 if narrow else 1

    def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> Any:
        return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, inputs: int, planes: int, stride: int) -> None:
            super().__init__()
            outputs = expansion * planes
            if narrow:
                self.conv1, self.bn1 = conv(inputs, planes, 1), nn.BatchNorm2d(planes)
                self.conv2, self.bn2 = conv(planes, planes, 3, stride), nn.BatchNorm2d(planes)
                self.conv3, self.bn3 = conv(planes, outputs, 1), nn.BatchNorm2d(outputs)
            else:
                self.conv1, self.bn1 = conv(inputs, planes, 3, stride), nn.BatchNorm2d(planes)
                self.conv2, self.bn2 = conv(planes, planes, 3), nn.BatchNorm2d(planes)
            self.added = 0
            if stride > 1 or inputs != outputs:
                if around:
                    projection = conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
                    setattr(self, around, nn.Sequential(*projection))
                else:
                    self.added = planes // 4

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            if narrow:
                y = self.bn3(self.conv3(F.relu(y)))
            if self.added:
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added, self.added))
            elif around and hasattr(self, around):
                x = getattr(self, around)(x)
            return F.relu(y + x)

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = conv(channels, width, stem, 2 if stem == 7 else 1)
            self.bn1 = nn.BatchNorm2d(width)
            inputs = width
            for stage, count in enumerate(blocks):
                planes = width * 2**stage
                made = []
                for number in range(count):
                    made.append(Block(inputs, planes, 2 if stage and number == 0 else 1))
                    inputs = expansion * planes
                setattr(self, f"layer{stage + 1}", nn.Sequential(*made))
            setattr(self, last, nn.Linear(inputs, classes))

        def forward(self, x: Any) -> Any:
            x = F.relu(self.bn1(self.conv1(x)))
            if stem == 7:
                x = F.max_pool2d(x, 3, 2, 1)
            for stage in range(len(blocks)):
                x = getattr(self, f"layer{stage + 1}")(x)
            return getattr(self, last)(x.mean(dim=(2, 3)))

    return ResNet()


def vgg(
    torch: ModuleType,
    counts: tuple[int, ...],
    width: int,
    classes: int,
    *,
    batch_norm: bool,
    pooled: int = 7,
    hidden: int = 4096,
    channels: int = 3,
) -> Any:
    """``hidden`` 0 is one dense layer, on one pixel."""
    nn = torch.nn
    layers: list[Any] = []
    for times, count in zip((1, 2, 4, 8, 8), counts, strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(channels, times * width, 3, padding=1))
            layers += [nn.BatchNorm2d(times * width), nn.ReLU()] if batch_norm else [nn.ReLU()]
            channels = times * width
        layers.append(nn.MaxPool2d(2, 2))

    class VGG(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(*layers)
            self.avgpool = nn.AdaptiveAvgPool2d(pooled)
            if not hidden:
                self.classifier = nn.Linear(8 * width, classes)
                return
            self.classifier = nn.Sequential(
                nn.Linear(8 * width * pooled**2, hidden),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(hidden, classes),
            )

        def forward(self, x: Any) -> Any:
            return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))

    return VGG()
