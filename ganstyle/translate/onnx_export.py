"""A model in one ONNX file, for any ONNX runtime: it says itself what it is, and takes images of any size."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from ganstyle.base.draws import Draws
from ganstyle.base.errors import RunFailed, UserError, one_line
from ganstyle.base.files import atomic_write
from ganstyle.translate.facts import ModelFacts, description
from ganstyle.translate.onnx_runtime import FORMAT, INPUT, OUTPUT, library, open_session

# Of ONNX Runtime 1.14 (2023) and later; all that the generators need is in it.
OPSET = 18
# Of the range from -1 to 1; an eighth of a grey level.
TOLERANCE = 1e-3
VERIFY_PX = ((64, 64), (96, 80), (128, 192), (45, 7))
# A message of protocol buffers holds 2 GiB; a megabyte is left for the graph.
LARGEST_BYTES = 2**31 - 2**20
# Peak bytes for each pixel and each channel of the first layer, by the way a generator upsamples; measured as the
# growth of the process at 600 and 768 px and over images of mixed sizes, with ONNX Runtime 1.32 on the CPU (20-24,
# 29-33 and 30), rounded up.
PEAK_BYTES = {"transposed": 26, "resize": 36, "antialiased": 32}
# Any size that nothing in a generator could take for one of its own constants, nor for the other side.
EXAMPLE_SHAPE = (2, 3, 41, 50)


@runtime_checkable
class Fitting(Protocol):
    """A network that says which sizes fit it: multiples of `multiple_px`, no smaller than `minimum_px`, itself one."""

    multiple_px: int
    minimum_px: int


class AnySize(nn.Module):
    """A generator whose extension of images is arithmetic on tensors, so that one graph holds it for every size.

    The generator itself decides in Python how to extend an image, which a graph would keep for one kind of size.
    Takes and gives (N, 3, H, W) from 1x1, the same values as the generator.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        assert isinstance(generator, Fitting), f"{type(generator).__name__} does not say which sizes fit it"
        self.generator = generator
        self.multiple_px, self.minimum_px = generator.multiple_px, generator.minimum_px

    def forward(self, images: Tensor) -> Tensor:
        """The translated images, in their size."""
        height, width = images.shape[2:]
        rows, columns = (self._sources(side_px) for side_px in (height, width))
        translated: Tensor = self.generator(images.index_select(2, rows).index_select(3, columns))
        return translated[:, :, :height, :width]

    def _sources(self, side_px: int) -> Tensor:
        """For each row (or column) of the extended image that of the image which it repeats, int64."""
        multiples = torch.sym_max((side_px + self.multiple_px - 1) // self.multiple_px, self._fewest_multiples)
        places = torch.arange(self.multiple_px * multiples)
        mirrored = torch.where(places < side_px, places, 2 * (side_px - 1) - places)
        return torch.where(mirrored[-1] >= 0, mirrored, places.clamp(max=side_px - 1))

    @property
    def _fewest_multiples(self) -> int:
        return self.minimum_px // self.multiple_px


def write_onnx(
    path: Path,
    generator: nn.Module,
    spec: Mapping[str, Any],
    facts: ModelFacts,
    *,
    verify_px: Sequence[tuple[int, int]] = VERIFY_PX,
) -> None:
    """Write one direction of a model as ONNX: float32, of any batch, height and width.

    Its one input `image` and its one output `translation` are RGB (N, 3, H, W) in [-1, 1]; the extension to sizes
    that fit the network and the cropping are inside. Before anything is written, ONNX Runtime and torch translate
    random images, one and two at once, of each size; no value may differ by more than 1e-3.

    Args:
        path: the file.
        generator: the network with its weights, on any device; left as it is, and written as it is in eval mode.
        spec: what it was built from.
        facts: direction, step and kind of weights.
        verify_px: (height, width) to compare at.

    Raises:
        UserError: a package or the folder is missing, the network is too large for ONNX, or the disk refuses.
        RunFailed: the exporter failed, or ONNX Runtime translates otherwise than torch.
    """
    if path.parent != Path() and not path.parent.is_dir():
        raise UserError(f"cannot write {path}: there is no folder {path.parent}")
    library()
    _check_bytes(generator)
    network = AnySize(copy.deepcopy(generator).cpu().float()).eval().requires_grad_(False)
    content = _exported(network, _described(spec, facts))
    _verify(network, content, verify_px)
    with atomic_write(path) as file:
        file.write(content)


def _described(spec: Mapping[str, Any], facts: ModelFacts) -> dict[str, str]:
    """What the file says of itself."""
    return description(FORMAT, spec, facts) | {
        "images": "RGB, float32, (N, 3, H, W) in [-1, 1], H and W from 1",
        "peak_bytes_per_px": str(_peak_bytes_per_px(spec)),
    }


def _peak_bytes_per_px(spec: Mapping[str, Any]) -> int:
    """The most memory that a pixel takes; 0, not known, for a network without a width."""
    return int(spec.get("width", 0) * PEAK_BYTES.get(spec.get("upsample", ""), max(PEAK_BYTES.values())))


def _check_bytes(generator: nn.Module) -> None:
    size = 4 * sum(tensor.numel() for tensor in generator.state_dict().values())
    if size > LARGEST_BYTES:
        raise UserError(
            f"the network's weights take {size / 1e9:.1f} GB: an ONNX file holds 2.1 GB; export it as .safetensors"
        )


def _exported(network: nn.Module, described: Mapping[str, str]) -> bytes:
    """The content of the file."""
    dynamic = {0: "batch", 2: "height", 3: "width"}
    try:
        program = torch.onnx.export(
            network,
            (torch.zeros(EXAMPLE_SHAPE),),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=(dynamic,),
            custom_translation_table={torch.ops.aten.group_norm.default: _instance_norm()},
        )
    except ImportError as error:
        raise UserError(
            f"exporting to ONNX needs packages that are not installed ({one_line(error)}): pip install 'ganstyle[onnx]'"
        ) from error
    except torch.onnx.errors.OnnxExporterError as error:
        raise RunFailed(f"the network cannot be written as ONNX ({one_line(error)[:200]})") from error
    assert program is not None
    model = program.model_proto
    _forget_origin(model)
    # The exporter writes the output's sides as formulas of the input's.
    model.graph.output[0].type.CopyFrom(model.graph.input[0].type)
    for key, value in described.items():
        model.metadata_props.add(key=key, value=value)
    content: bytes = model.SerializeToString()
    return content


def _instance_norm() -> Callable[..., Any]:
    """What the exporter writes for an instance norm: one operator, for maps that are shifted to begin with 0.

    The shift changes nothing but the rounding. Without it a flat map, as a blank page gives, is not exactly its own
    mean; dividing what is left by a deviation of nearly 0 makes noise of it, which the next norms enlarge.
    """
    from onnxscript import opset18  # noqa: PLC0415 - comes with an extra

    op: Any = opset18  # its types are too narrow for values that have none yet

    def instance_norm(images: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
        assert images.shape[1] == groups, f"a norm of {groups} groups over {images.shape[1]} channels"
        assert (weight, bias) == (None, None), "a norm with weights of its own"
        start, end, axes = (op.Constant(value_ints=value) for value in ([0, 0], [1, 1], [2, 3]))
        shifted = op.Sub(images, op.Slice(images, start, end, axes))
        ones, zeros = (op.Constant(value_floats=[value] * groups) for value in (1.0, 0.0))
        return op.InstanceNormalization(shifted, ones, zeros, epsilon=eps)

    return instance_norm


def _forget_origin(message: Any) -> None:
    """Remove what the exporter notes in every part of a model: paths and lines of source code."""
    for name in ("doc_string", "metadata_props", "value_info"):
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if isinstance(value, Iterable) else [value]:
                _forget_origin(part)


@torch.no_grad()
def _verify(network: nn.Module, content: bytes, sizes_px: Sequence[tuple[int, int]]) -> None:
    session = open_session(content, providers=["CPUExecutionProvider"])
    draws = Draws(0)
    for number, (height, width) in enumerate(sizes_px):
        for batch in (1, 2):
            shape = (batch, 3, height, width)
            images = draws.stream("verify onnx", number).uniform(-1, 1, shape).astype(np.float32)
            (translated,) = session.run([OUTPUT], {INPUT: images})
            expected = network(torch.from_numpy(images)).numpy()
            difference = np.abs(translated - expected).max() if translated.shape == expected.shape else np.inf
            if not difference <= TOLERANCE:  # NaN too
                raise RunFailed(
                    f"the ONNX model differs from torch by {difference:.2g} at {width} x {height} px, batch {batch} "
                    f"(at most {TOLERANCE:g} is allowed): nothing was written; use a .safetensors export"
                )
