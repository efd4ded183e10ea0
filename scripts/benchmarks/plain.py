"""The baseline: CycleGAN's training step and loader as the well-known code makes them, eager and without shortcuts.

Every pass is a pass of its own, the norm is torch's, the optimiser is plain Adam, pools are lists, and every picture is
decoded each time. The layers are in the order of our networks, so that weights can be copied one by one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from case import Case
from PIL import Image
from sides import Work, timed
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

POOL_SIZE = 50


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


def generator(width: int, blocks: int) -> nn.Module:
    """The ResNet generator: 7x7, two halvings, residual blocks, two doublings, 7x7."""
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), *_norm_relu(width)]
    for wide in (2 * width, 4 * width):
        layers += [nn.Conv2d(wide // 2, wide, 3, stride=2, padding=1), *_norm_relu(wide)]
    layers += [ResidualBlock(4 * width) for _ in range(blocks)]
    for narrow in (2 * width, width):
        up = nn.ConvTranspose2d(2 * narrow, narrow, 3, stride=2, padding=1, output_padding=1)
        layers += [up, *_norm_relu(narrow)]
    return _initialised(nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()))


def discriminator(width: int) -> nn.Module:
    """The 70x70 PatchGAN."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
    for wide, stride in ((2 * width, 2), (4 * width, 2), (8 * width, 1)):
        layers += [nn.Conv2d(wide // 2, wide, 4, stride=stride, padding=1), nn.InstanceNorm2d(wide)]
        layers += [nn.LeakyReLU(0.2, inplace=True)]
    return _initialised(nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, padding=1)))


def _norm_relu(channels: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels), nn.ReLU(inplace=True)]


def _initialised(network: nn.Module) -> nn.Module:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return network


class Pool:
    """A list of old fakes; once it is full, half of the time an old one is given out for the new one."""

    def __init__(self, size: int = POOL_SIZE) -> None:
        self.size = size
        self.images: list[Tensor] = []
        self.random = random.Random(0)

    def query(self, images: Tensor) -> Tensor:
        given = []
        for image in images.detach().split(1):
            if len(self.images) < self.size:
                self.images.append(image)
                given.append(image)
            elif self.random.uniform(0, 1) > 0.5:
                place = self.random.randint(0, self.size - 1)
                given.append(self.images[place].clone())
                self.images[place] = image
            else:
                given.append(image)
        return torch.cat(given)


class PlainStep:
    """Both generators' update, then both discriminators'."""

    def __init__(self, width: int, blocks: int, device: str) -> None:
        self.generator_ab, self.generator_ba = (generator(width, blocks).to(device) for _ in "ab")
        self.discriminator_a, self.discriminator_b = (discriminator(64).to(device) for _ in "ab")
        self.generator_adam = _adam(self.generator_ab, self.generator_ba)
        self.discriminator_adam = _adam(self.discriminator_a, self.discriminator_b)
        self.pool_a, self.pool_b = Pool(), Pool()
        self.squared, self.absolute = nn.MSELoss(), nn.L1Loss()

    def __call__(self, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
        """One step on (N, 3, H, W) in [-1, 1]; the losses carry the names that ours have."""
        fake_b = self.generator_ab(real_a)
        cycled_a = self.generator_ba(fake_b)
        fake_a = self.generator_ba(real_b)
        cycled_b = self.generator_ab(fake_a)
        self._require_gradients(False)
        self.generator_adam.zero_grad()
        identity_b, identity_a = self.generator_ab(real_b), self.generator_ba(real_a)
        losses = {
            "generator/adversarial_ab": self._adversarial(self.discriminator_b(fake_b), 1.0),
            "generator/adversarial_ba": self._adversarial(self.discriminator_a(fake_a), 1.0),
            "generator/cycle_a": 10 * self.absolute(cycled_a, real_a),
            "generator/cycle_b": 10 * self.absolute(cycled_b, real_b),
            "generator/identity_a": 5 * self.absolute(identity_a, real_a),
            "generator/identity_b": 5 * self.absolute(identity_b, real_b),
        }
        sum(losses.values(), torch.zeros((), device=real_a.device)).backward()
        self.generator_adam.step()
        self._require_gradients(True)
        self.discriminator_adam.zero_grad()
        losses["discriminator/b"] = self._judged(self.discriminator_b, real_b, self.pool_b.query(fake_b))
        losses["discriminator/a"] = self._judged(self.discriminator_a, real_a, self.pool_a.query(fake_a))
        self.discriminator_adam.step()
        return losses

    def _judged(self, network: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        loss = 0.5 * (self._adversarial(network(real), 1.0) + self._adversarial(network(fake.detach()), 0.0))
        loss.backward()
        return loss

    def _adversarial(self, scores: Tensor, target: float) -> Tensor:
        loss: Tensor = self.squared(scores, torch.full_like(scores, target))
        return loss

    def _require_gradients(self, on: bool) -> None:
        for parameter in chain(self.discriminator_a.parameters(), self.discriminator_b.parameters()):
            parameter.requires_grad = on


def _adam(*networks: nn.Module) -> torch.optim.Adam:
    parameters = chain.from_iterable(network.parameters() for network in networks)
    return torch.optim.Adam(parameters, lr=2e-4, betas=(0.5, 0.999))


def step_gflop(case: Case) -> float:
    """Arithmetic of one plain step in GFLOP (a multiplication and an addition are two), counted without computing."""
    step = PlainStep(case.width, case.blocks, "meta")
    images = torch.empty(case.batch, 3, case.px, case.px, device="meta")
    with FlopCounterMode(display=False) as counter:
        step(images, images)
    return counter.get_total_flops() / 1e9


def inference_gflop(case: Case) -> float:
    """Arithmetic of one translation in GFLOP."""
    network = generator(case.width, case.blocks).to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(case.batch, 3, case.px, case.px, device="meta"))
    return counter.get_total_flops() / 1e9


def as_torch_does(case: Case) -> None:
    """PyTorch's defaults on CUDA (TF32 convolutions) with the cuDNN benchmark on; or TF32 off."""
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.conv.fp32_precision = "tf32" if case.tf32 else "ieee"  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Step:
    """Builds the plain side of a training step."""

    case: Case

    def __call__(self) -> Work:
        as_torch_does(self.case)
        step, pairs = PlainStep(self.case.width, self.case.blocks, self.case.device), self.case.inputs()
        return timed(lambda: step(*pairs()), self.case.device)


@dataclass(frozen=True)
class Inference:
    """Builds the plain side of a translation."""

    case: Case

    def __call__(self) -> Work:
        as_torch_does(self.case)
        network, pairs = generator(self.case.width, self.case.blocks).to(self.case.device).eval(), self.case.inputs()
        return timed(torch.no_grad()(lambda: network(pairs()[0])), self.case.device)


class UnpairedFiles(Dataset):
    """Two folders; every picture is decoded, resized, cropped and flipped each time it is asked for."""

    def __init__(self, a: Path, b: Path, *, load_px: int, crop_px: int, length: int) -> None:
        self.sides, self.length = (sorted(a.iterdir()), sorted(b.iterdir())), length
        self.transform = transforms.Compose(
            [
                transforms.Resize([load_px, load_px], transforms.InterpolationMode.BICUBIC),
                transforms.RandomCrop(crop_px),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.5,) * 3),
            ]
        )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(self._image(paths, index) for paths in self.sides)

    def _image(self, paths: Sequence[Path], index: int) -> Tensor:
        tensor: Tensor = self.transform(Image.open(paths[index % len(paths)]).convert("RGB"))
        return tensor


def batches(dataset: UnpairedFiles, *, batch: int, workers: int, device: str) -> Iterator[tuple[Tensor, ...]]:
    """Batches of both sides on the device."""
    for pair in DataLoader(dataset, batch, num_workers=workers):
        yield tuple(images.to(device) for images in pair)
