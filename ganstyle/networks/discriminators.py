"""The table of discriminators: images in, scores out.

A discriminator gives one map of scores (N, 1, h, w), or several with their weights, a list of (weight, map). Each has
`minimum_px`, the smallest side of the images that it judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple, Protocol, runtime_checkable

from annotated_types import Gt, Le, Len
from torch import nn

from ganstyle.base.tables import build, check_spec, each_once, named_in, value_mistakes
from ganstyle.networks.augmented import TRANSFORMS, Augmented
from ganstyle.networks.feature_discriminator import FeatureDiscriminator
from ganstyle.networks.frozen_vgg import AUTO, NoWeights, settled_weights
from ganstyle.networks.multiscale import MultiscaleDiscriminator
from ganstyle.networks.patch_discriminator import PatchDiscriminator
from ganstyle.networks.pixel_discriminator import PixelDiscriminator
from ganstyle.networks.several import Several
from ganstyle.networks.vgg_files import FEATURES

Spec = Mapping[str, Any]
Weight = Annotated[float, Gt(0), Le(1000)]
# The key of a member that is not its own, but of the discriminator that holds it.
WEIGHT = "weight"


@runtime_checkable
class Discriminator(Protocol):
    """What is asked of a discriminator beside its scores."""

    minimum_px: int


TransformName = Annotated[str, named_in(TRANSFORMS, "transform")]
Policy = Annotated[list[TransformName], Len(1, len(TRANSFORMS)), each_once("transform")]


def several(*, members: Annotated[list[dict], Len(1, 16)]) -> Several:
    """Discriminators by their specs, each with a `weight`, 1 unless told."""
    return Several([(member.get(WEIGHT, 1.0), _build(_own(member), "member")) for member in members])


def augmented(*, of: dict, policy: Policy = list(TRANSFORMS)) -> Augmented:  # noqa: B006 - never changed
    """A discriminator by its spec, shown every image differently each time."""
    return Augmented(_build(of, "of"), policy)


DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {
    "patch": PatchDiscriminator,
    "pixel": PixelDiscriminator,
    "multiscale": MultiscaleDiscriminator,
    "features": FeatureDiscriminator,
    "several": several,
    "augmented": augmented,
}

# How people hear of a discriminator when others are left out.
SPOKEN = {"patch": "the PatchGAN"}


def _build(spec: Spec, path: str) -> nn.Module:
    return build(DISCRIMINATORS, spec, path=path)


def _own(member: Spec) -> dict[str, Any]:
    return {key: value for key, value in member.items() if key != WEIGHT}


class Inner(NamedTuple):
    """A spec inside of another one: where it is, and by what its scores are weighted."""

    place: str
    spec: Spec
    weight: Any = 1.0


def _members(spec: Spec) -> Iterator[Inner]:
    members = spec.get("members")
    for number, member in enumerate(members if isinstance(members, list) else []):
        if isinstance(member, Mapping):
            yield Inner(f"members.{number}", _own(member), member.get(WEIGHT, 1.0))


def _of(spec: Spec) -> Iterator[Inner]:
    if isinstance(spec.get("of"), Mapping):
        yield Inner("of", spec["of"])


INNER: dict[str, Callable[[Spec], Iterator[Inner]]] = {"several": _members, "augmented": _of}


def inner_specs(spec: Spec) -> list[Inner]:
    """The specs that a spec holds directly; what is no spec is left out."""
    inner = INNER.get(spec["name"]) if isinstance(spec.get("name"), str) else None
    return [] if inner is None else list(inner(spec))


def all_specs(spec: Spec) -> Iterator[Spec]:
    """A spec and all that are inside of it, however deep."""
    yield spec
    for inner in inner_specs(spec):
        yield from all_specs(inner.spec)


def discriminator_mistakes(spec: Spec, *, path: str = "discriminator") -> list[str]:
    """All mistakes of a spec and of those inside of it, each with its path."""
    mistakes = check_spec(DISCRIMINATORS, spec, path=path)
    for place, inner, weight in inner_specs(spec):
        mistakes += value_mistakes(Weight, weight, path=f"{path}.{place}.{WEIGHT}")
        mistakes += discriminator_mistakes(inner, path=f"{path}.{place}")
    return mistakes


def bounded(spec: Spec) -> bool:
    """Whether spectral norm bounds how steep the scores are, of every discriminator that a sound spec holds."""
    leaves = [each for each in all_specs(spec) if not inner_specs(each)]
    return all(each["name"] == "features" or each.get("spectral", False) for each in leaves)


def without_paths(value: Any) -> Any:
    """A spec, or a part of one, to be shown elsewhere: of a file of weights only that it is one."""
    if isinstance(value, Mapping):
        named = {AUTO, *FEATURES}
        hidden = {key: "a file" for key, each in value.items() if key == "weights" and each not in named}
        return {key: without_paths(each) for key, each in value.items()} | hidden
    return [without_paths(each) for each in value] if isinstance(value, list) else value


def settled(spec: Spec, say: Callable[[str], None]) -> dict[str, Any]:
    """A sound spec with what it leaves to the machine decided: which weights, and who is left out for want of them.

    Raises:
        UserError: weights that were asked for are not there, or nothing is left.
    """
    settle = SETTLING.get(spec["name"])
    return dict(spec) if settle is None else settle(spec, say)


def _settled_features(spec: Spec, _: Callable[[str], None]) -> dict[str, Any]:
    return {**spec, "weights": settled_weights(spec.get("weights", AUTO))}


def _settled_of(spec: Spec, say: Callable[[str], None]) -> dict[str, Any]:
    return {**spec, "of": settled(spec["of"], say)}


def _settled_members(spec: Spec, say: Callable[[str], None]) -> dict[str, Any]:
    kept, missing = [], None
    for member in spec["members"]:
        try:
            kept.append(settled(member, say))
        except NoWeights as error:
            missing = error
    if missing is not None:
        if not kept:
            raise missing
        names = " and ".join(SPOKEN.get(each["name"], f"'{each['name']}'") for each in kept)
        say(
            f"trained by {names} alone: the discriminator that looks through a VGG has no weights ({missing}, "
            "and begin a new run to have both)"
        )
    return {**spec, "members": kept}


SETTLING: dict[str, Callable[[Spec, Callable[[str], None]], dict[str, Any]]] = {
    "features": _settled_features,
    "several": _settled_members,
    "augmented": _settled_of,
}
