"""What is published: file names, digests, mirrors and class names of MNIST and Fashion-MNIST."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedFile:
    """One IDX file of a set, by its published (gzipped) name.

    ``gzip_sha256`` identifies the file as its authors compressed it. The same data may have been
    compressed again since, so ``content_sha256``, the digest of the decompressed bytes, counts as
    well where it is known.
    """

    name: str
    gzip_sha256: str
    content_sha256: str | None
    axes: int

    @property
    def spellings(self) -> tuple[str, ...]:
        """The names it may have on disk: gzipped or not, and with the dot some archives write."""
        raw = self.name.removesuffix(".gz")
        dotted = raw.replace("-idx", ".idx")
        return self.name, raw, f"{dotted}.gz", dotted


@dataclass(frozen=True)
class PublishedSet:
    """A set of four IDX files and where to fetch them; each mirror ends with a slash.

    ``torchvision`` is the folder that torchvision makes for it.
    """

    name: str
    train_images: PublishedFile
    train_labels: PublishedFile
    test_images: PublishedFile
    test_labels: PublishedFile
    mirrors: tuple[str, ...]
    class_names: tuple[str, ...]
    torchvision: str

    @property
    def files(self) -> tuple[PublishedFile, PublishedFile, PublishedFile, PublishedFile]:
        """The four files: train images, train labels, test images, test labels."""
        return self.train_images, self.train_labels, self.test_images, self.test_labels


# Y. LeCun, C. Cortes, C. Burges, CC BY-SA 3.0. The original host answers 403, so two mirrors.
MNIST = PublishedSet(
    name="mnist",
    train_images=PublishedFile(
        "train-images-idx3-ubyte.gz",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        axes=3,
    ),
    train_labels=PublishedFile(
        "train-labels-idx1-ubyte.gz",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        axes=1,
    ),
    test_images=PublishedFile(
        "t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        axes=3,
    ),
    test_labels=PublishedFile(
        "t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        axes=1,
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    class_names=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
    torchvision="MNIST",
)

# H. Xiao, K. Rasul, R. Vollgraf (Zalando SE), MIT. The authors' bucket speaks plain http only, so
# it is not among the mirrors. The decompressed digests of the two image files are not known here.
FASHION_MNIST = PublishedSet(
    name="fashion-mnist",
    train_images=PublishedFile(
        "train-images-idx3-ubyte.gz",
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        None,
        axes=3,
    ),
    train_labels=PublishedFile(
        "train-labels-idx1-ubyte.gz",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        axes=1,
    ),
    test_images=PublishedFile(
        "t10k-images-idx3-ubyte.gz",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        None,
        axes=3,
    ),
    test_labels=PublishedFile(
        "t10k-labels-idx1-ubyte.gz",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        axes=1,
    ),
    mirrors=(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    torchvision="FashionMNIST",
)

SOURCES = {source.name: source for source in (MNIST, FASHION_MNIST)}
