"""What a file of weights looks like that holds no generator known here, so that people learn which file to take."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ganstyle.networks.foreign_files import is_lightning
from ganstyle.networks.foreign_layouts import Shapes

TAKE_GENERATOR = "give the generator's file beside it (latest_net_G_A.pth or latest_net_G.pth)"
ELSEWHERE = "only generators of the CycleGAN and CUT code can be loaded"


@dataclass(frozen=True)
class Kind:
    """Something else than a generator.

    Args:
        what: what it is, for people.
        advice: what to do.
        fits: whether tensors of these names and shapes are one.
    """

    what: str
    advice: str
    fits: Callable[[Shapes], bool]


def named(*patterns: str) -> Callable[[Shapes], bool]:
    """Whether for each pattern there is a tensor whose name begins so."""
    compiled = [re.compile(pattern) for pattern in patterns]
    return lambda shapes: all(any(pattern.match(name) for name in shapes) for pattern in compiled)


def judges(shapes: Shapes) -> bool:
    """Whether the convolutions of one sequence lead from images to one map of scores."""
    kernels = [shape for name, shape in shapes.items() if len(shape) == 4 and not name.endswith(".filt")]
    return len(kernels) > 1 and kernels[-1][0] == 1 and {shape[-1] for shape in kernels} in ({4}, {1})


# The first that fits is said.
KINDS = (
    Kind("projection heads (netF of the CUT code)", TAKE_GENERATOR, named(r"mlp_\d+\.\d+\.weight")),
    Kind(
        "a StyleGAN2 of the CUT code", ELSEWHERE, named(r"(encoder|decoder|convs)\.\d+\.conv\d\.conv\.(weight|modul)")
    ),
    Kind("a discriminator (PatchGAN)", TAKE_GENERATOR, judges),
    Kind(
        "a discriminator (several scales)", TAKE_GENERATOR, named(r"(scale\d+_)?layer\d+(_|\.)\d+\.weight.*", r"scale")
    ),
    Kind("Stable Diffusion", ELSEWHERE, named(r"model\.diffusion_model\.")),
    Kind("a part of a diffusion model", ELSEWHERE, named(r"(unet\.)?(down_blocks|encoder\.down_blocks)\.\d+\.")),
    Kind("a LoRA of a diffusion model", ELSEWHERE, named(r".*lora_(up|down|A|B)\b")),
    Kind(
        "a VGG",
        "it computes features (stylize and evaluate take it with --weights), it translates nothing",
        named(r"((features\.)?\d+\.weight|conv\d+(_\d)?\.weight)", r"(features\.0|0|conv1_1|conv11|conv0)\.weight"),
    ),
    Kind("a fast style network of PyTorch's examples", ELSEWHERE, named(r"conv1\.conv2d\.", r"res1\.")),
    Kind("a classifier (ResNet)", ELSEWHERE, named(r"layer1\.0\.conv1\.", r"fc\.")),
    Kind("an Inception", ELSEWHERE, named(r"Mixed_\d\w\.")),
    Kind("a transformer", ELSEWHERE, named(r".*(attn|attention)\b.*\.(weight|bias)$")),
)


def looks_like(content: Any, groups: Collection[Shapes]) -> tuple[str, str] | None:
    """What the content of a file of PyTorch looks like, and what to do; None where nothing is known.

    Args:
        content: of the file.
        groups: the names and shapes of all state dicts in it.
    """
    if isinstance(content, Mapping) and {"format", "step", "facts"} <= content.keys():
        return (
            "a checkpoint of a run of ganstyle",
            "give the run's folder, and --checkpoint for one that is not the best",
        )
    if is_lightning(content):
        return "a checkpoint of PyTorch Lightning", f"save its generator's state dict alone; {ELSEWHERE}"
    if isinstance(content, Mapping) and {"state", "param_groups"} <= content.keys():
        return "the state of an optimizer", TAKE_GENERATOR
    found = [kind for kind in KINDS for shapes in groups if kind.fits(shapes)]
    return (found[0].what, found[0].advice) if found else None
