"""What one row of a benchmark is about: sizes, precision and how our side runs. The other side is always plain."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

INPUTS = 4


@dataclass(frozen=True)
class Case:
    """Sizes for both sides; precision, compilation and the rest for ours."""

    px: int = 256
    batch: int = 1
    width: int = 64
    blocks: int = 9
    device: str = "cpu"
    precision: str = "float32"
    compile: bool = False
    cuda_graphs: bool = False
    recompute: bool = False
    average: bool = False  # ours keeps the moving average of the generators, which the plain step does not have
    tf32: bool = True  # whether the plain side's convolutions may use TF32, as is PyTorch's default

    @property
    def name(self) -> str:
        """A name that says all that differs from the defaults."""
        network = f"width {self.width}, {self.blocks} blocks"
        parts = {
            f"{self.px} px, batch {self.batch}": True,
            network: (self.width, self.blocks) != (64, 9),
            self.precision: True,
            "compiled" if self.compile else "eager": True,
            "CUDA graphs": self.cuda_graphs,
            "recomputing": self.recompute,
            "with EMA": self.average,
            "against TF32 off": not self.tf32,
        }
        return ", ".join(part for part, said in parts.items() if said)

    @property
    def ceiling(self) -> str:
        """The rate of the machine that a side of this precision is held against."""
        return "tf32" if self.device.startswith("cuda") and self.precision == "float32" else self.precision

    def inputs(self, layout: torch.memory_format = torch.contiguous_format) -> Callable[[], tuple[Tensor, Tensor]]:
        """Gives (real_a, real_b) in [-1, 1] on the device, a few different pairs in turn: no data loading is timed."""
        random = torch.Generator().manual_seed(0)
        shape = (self.batch, 3, self.px, self.px)

        def images() -> Tensor:
            drawn = torch.rand(shape, generator=random) * 2 - 1
            return drawn.to(self.device).contiguous(memory_format=layout)

        pairs = itertools.cycle([(images(), images()) for _ in range(INPUTS)])
        return lambda: next(pairs)
