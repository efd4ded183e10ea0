"""VGGs by name: their published files, and what a file of weights holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.base.tables import pick
from ganstyle.networks.vgg import Vgg
from ganstyle.networks.vgg_layouts import (
    CAFFE,
    CAFFE_16,
    DUMPED,
    DUMPED_16,
    LIGHT,
    TORCHVISION,
    TORCHVISION_16,
    Layout,
)
from ganstyle.networks.weight_files import check_published, download, hub_file, is_published, read_weights

# `5SE.pth` is a link in that repository, and a link's address gives the name it leads to: this is the file itself.
LIGHT_URL = (
    "https://raw.githubusercontent.com/MingSun-Tse/Collaborative-Distillation/"
    "75c1b81c1dbea11c96d3fb04e96f207dee16dcbb/trained_models/wct_se_16x_new/20191109-211322_E20.pth"
)
TORCH_URL, MODELS_URL = "https://download.pytorch.org/models", "https://web.eecs.umich.edu/~justincj/models"


@dataclass(frozen=True)
class Features:
    """A VGG by name.

    Args:
        layouts: in which its files are; the first that fits is taken.
        url: of the published file.
        digest: how that file's SHA-256 begins.
        file: what torch's cache calls it.
    """

    layouts: tuple[Layout, ...]
    url: str
    digest: str
    file: str


FEATURES = {
    "vgg19-light": Features(
        (LIGHT,),
        LIGHT_URL,
        "9417c34d0d8d621bc6af78be745f1b8d30f5f210efa01e50655c60eb3770816b",
        "vgg19_light.pth",
    ),
    "vgg19": Features((TORCHVISION,), f"{TORCH_URL}/vgg19-dcbb9e9d.pth", "dcbb9e9d", "vgg19-dcbb9e9d.pth"),
    "vgg16": Features((TORCHVISION_16,), f"{TORCH_URL}/vgg16-397923af.pth", "397923af", "vgg16-397923af.pth"),
    "vgg19-caffe": Features((CAFFE, DUMPED), f"{MODELS_URL}/vgg19-d01eb7cb.pth", "d01eb7cb", "vgg19-d01eb7cb.pth"),
    "vgg16-caffe": Features(
        (CAFFE_16, DUMPED_16), f"{MODELS_URL}/vgg16-00b39a1b.pth", "00b39a1b", "vgg16-00b39a1b.pth"
    ),
}
# Without a name and a file: the first whose file is there, else the first of all, which is small and fast on a CPU.
USUAL = "vgg19-light"
# Where classifiers keep their first linear layer: Caffe networks have a dropout before it.
TORCHVISION_KEY, CAFFE_KEY = "classifier.0.weight", "classifier.1.weight"


def load_features(
    name: str | None = None, weights: Path | None = None, *, pooling: str = "max", padding: str = "replicate"
) -> Vgg:
    """A VGG by its name in FEATURES, from a file or from where it is published.

    Args:
        name: by default what the file holds; without a file, the first of FEATURES that torch's cache has, else the
            light VGG-19.
        weights: a file of torchvision, of the Caffe networks in PyTorch's format or of the light one. A file in
            torchvision's layout is taken for torchvision's, unless it is a published Caffe one, has the classifier of
            one or is named so; where nothing but the name could tell, the network's `note` says so.
        pooling: max, average or l2.
        padding: own, zeros, replicate or reflect.

    Raises:
        UserError: an unknown name, a file of something else, or none and none to be had: says which file to put where.
    """
    wanted = None if name is None else pick(FEATURES, "features", name)
    if weights is None:
        wanted = wanted or FEATURES[first_there()]
        weights = _published(wanted)
    tensors = read_weights(weights)
    layout, note = _layout(weights, tensors, wanted)
    vgg = Vgg(layout, tensors, pooling=pooling, padding=padding)
    vgg.note = note
    return vgg


def _layout(path: Path, weights: Mapping[str, Tensor], wanted: Features | None) -> tuple[Layout, str]:
    """The layout of a file, and a line where it was a guess."""
    layouts = [layout for each in FEATURES.values() for layout in each.layouts] if wanted is None else wanted.layouts
    fitting = [layout for layout in layouts if layout.fits(weights)]
    if not fitting:
        names = ", ".join(FEATURES) if wanted is None else wanted.layouts[0].name
        raise UserError(
            f"{path}: its tensors (the first is '{next(iter(weights), 'none')}') are not those of {names}; "
            "give another --weights, or leave out --features"
        )
    if wanted is not None or len(fitting) == 1:
        return fitting[0], ""
    return _told_apart(path, weights, *fitting)


def _told_apart(path: Path, weights: Mapping[str, Tensor], usual: Layout, caffe: Layout) -> tuple[Layout, str]:
    """Which of two networks a file holds whose features have the same names and shapes, but not the same input."""
    name = next(name for name, each in FEATURES.items() if caffe in each.layouts)
    if CAFFE_KEY in weights or is_published(path, FEATURES[name].digest):
        return caffe, ""
    if TORCHVISION_KEY in weights:
        return usual, ""
    return usual, (
        f"{path} could be torchvision's or a Caffe network: it is taken for {usual.name}; "
        f"--features {name} takes it for the other"
    )


def first_there() -> str:
    """The name of the first of FEATURES whose file is in torch's cache, else of the usual one."""
    return next((name for name, each in FEATURES.items() if hub_file(each.file).is_file()), USUAL)


def _published(features: Features) -> Path:
    """The published file in torch's cache, fetched when it is not there."""
    path = hub_file(features.file)
    if not path.is_file():
        advice = f"put {features.url} at {path}, or name a file with --weights"
        download(features.url, path, features.digest, advice)
    else:
        check_published(path, features.digest)
    return path
