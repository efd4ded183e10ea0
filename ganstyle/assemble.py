"""Config -> objects: the one place that knows every table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ganstyle.base.config import Config, parse_config
from ganstyle.base.draws import stream_seed
from ganstyle.base.errors import UserError
from ganstyle.base.keys import DataConfig
from ganstyle.base.tables import build, check_spec, full_spec
from ganstyle.data.augment import check_augment
from ganstyle.methods.cut import CUT
from ganstyle.methods.cyclegan import CycleGAN
from ganstyle.methods.dcl import DCL
from ganstyle.methods.method import Method
from ganstyle.networks.discriminators import DISCRIMINATORS, Discriminator, bounded, discriminator_mistakes, settled
from ganstyle.networks.generators import GENERATORS

METHODS: dict[str, Callable[..., Method]] = {"cyclegan": CycleGAN, "cut": CUT, "dcl": DCL}

# What `assemble` hands to a method beside its spec.
GIVEN = ("generator", "discriminator")


def check_config(values: Mapping[str, Any]) -> Config:
    """The typed config; `UserError` with every mistake of the fixed keys and of the specs at once."""
    return parse_config(values, spec_mistakes(values))


def spec_mistakes(values: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with the specs, a line each."""
    sections: Sequence[tuple[str, Mapping[str, Callable[..., Any]], Sequence[str]]] = (
        ("method", METHODS, GIVEN),
        ("generator", GENERATORS, ()),
    )
    mistakes = []
    for key, table, given in sections:
        spec = values.get(key, Config.model_fields[key].default)
        if isinstance(spec, Mapping):
            mistakes += check_spec(table, spec, path=key, given=given)
    discriminator = values.get("discriminator")
    if isinstance(discriminator, Mapping):
        mistakes += discriminator_mistakes(discriminator)
    data = values.get("data")
    augment = data.get("augment") if isinstance(data, Mapping) else None
    if isinstance(augment, list):
        mistakes += check_augment(augment)
    return mistakes + ([] if mistakes else [*_size_mistakes(values), *_pairing_mistakes(values)])


def _size_mistakes(values: Mapping[str, Any]) -> list[str]:
    """A crop that is too small for the networks; asked of the networks themselves, on no device."""
    crop_px = _crop_px(values)
    spec = values.get("discriminator", Config.model_fields["discriminator"].default)
    if not isinstance(spec, Mapping):  # a mistake of the fixed keys
        return []
    try:
        with torch.device("meta"):
            discriminator = build(DISCRIMINATORS, spec, path="discriminator")
    except UserError as error:  # a file of weights that is not there, or not one
        return [f"discriminator: {error}"]
    if isinstance(crop_px, int) and isinstance(discriminator, Discriminator) and crop_px < discriminator.minimum_px:
        return [f"data.crop_px: got {crop_px}, expected at least {discriminator.minimum_px} for this discriminator"]
    return []


def _pairing_mistakes(values: Mapping[str, Any]) -> list[str]:
    """Settings of a method that do not go with those of its networks; the specs themselves are sound."""
    keys = ("method", "generator", "discriminator")
    specs = [values.get(key, Config.model_fields[key].default) for key in keys]
    if not all(isinstance(spec, Mapping) for spec in specs):  # a mistake of the fixed keys
        return []
    method, generator, discriminator = specs
    mistakes = []
    unbounded = not method.get("gradient_penalty") and not bounded(discriminator)
    if method.get("adversarial") == "wasserstein" and unbounded:
        mistakes.append(
            "method.adversarial: wasserstein needs a bound on the discriminator: set method.gradient_penalty=10, or "
            "spectral=true of the discriminator"
        )
    if method.get("flip_equivariance"):
        with torch.device("meta"):
            multiple_px: Any = build(GENERATORS, generator, path="generator").multiple_px
        crop_px = _crop_px(values)
        if isinstance(crop_px, int) and crop_px % multiple_px:
            mistakes.append(
                f"data.crop_px: got {crop_px}, expected a multiple of {multiple_px} for flip_equivariance with this "
                "generator: patches of a mirrored crop lie elsewhere otherwise"
            )
    return mistakes


def _crop_px(values: Mapping[str, Any]) -> Any:
    data = values.get("data")
    default = DataConfig.model_fields["crop_px"].default
    return data.get("crop_px", default) if isinstance(data, Mapping) else default


def settle(config: Config, say: Callable[[str], None]) -> Config:
    """The config with what it leaves to the machine decided, once for a whole run: which frozen weights are used.

    Args:
        config: a sound one.
        say: told who is left out for want of weights, in one line.

    Raises:
        UserError: weights that cannot be done without are not there and not to be had.
    """
    try:
        return config.model_copy(update={"discriminator": settled(config.discriminator, say)})
    except UserError as error:
        raise UserError(f"discriminator: {error}") from error


def build_method(config: Config) -> Method:
    """The method with freshly initialised networks, on the CPU; the same weights for the same seed."""

    def seeded(
        table: Mapping[str, Callable[..., nn.Module]], key: str, spec: Mapping[str, Any]
    ) -> Callable[[], nn.Module]:
        numbers = iter(range(1000))

        def make() -> nn.Module:
            torch.manual_seed(stream_seed(config.seed, "initialise", key, next(numbers)))
            return build(table, spec, path=key)

        return make

    with torch.random.fork_rng(devices=[]):
        return build(
            METHODS,
            config.method,
            path="method",
            generator=seeded(GENERATORS, "generator", config.generator),
            discriminator=seeded(DISCRIMINATORS, "discriminator", config.discriminator),
        )


def model_facts(config: Config, method: Method) -> dict[str, Any]:
    """What a checkpoint says of itself, so that it can be used without its config."""
    names = {id(network): name for name, network in method.networks.items()}
    return {
        "method": config.method["name"],
        "generator": full_spec(GENERATORS, config.generator),
        "translators": {direction: names[id(network)] for direction, network in method.translators.items()},
        "crop_px": config.data.crop_px,
    }


def full_generator_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a generator with its defaults written out."""
    return full_spec(GENERATORS, spec)


def build_generator(spec: Mapping[str, Any]) -> nn.Module:
    """A generator without weights, on the meta device: nothing is allocated before the file was looked at."""
    with torch.device("meta"):
        return build(GENERATORS, spec, path="generator")
