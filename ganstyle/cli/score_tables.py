"""Scores of folders as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ganstyle.base.errors import printable
from ganstyle.evaluate.comparing import LEAST_IMAGES

# Score -> what people call it, and which way is better.
TITLES = {
    "kid": ("KID: distance to the real images", "less"),
    "kid_deviation_of_subsets": ("KID: deviation over subsets", ""),
    "fid": ("FID: distance to the real images", "less"),
    "precision": ("precision: outputs that look real", "more"),
    "recall": ("recall: real images that outputs cover", "more"),
    "density": ("density: how well among real images", "more"),
    "coverage": ("coverage: real images with an output near", "more"),
    "structure": ("structure kept of the photo", "more"),
    "lpips": ("LPIPS to the photo, on grey", "less"),
    "edges": ("edges where {other}'s are", "more"),
    "change": ("mean change of the photo, 0 to 1", ""),
    "psnr": ("PSNR to the truth, dB", "more"),
    "ssim": ("SSIM to the truth", "more"),
}


OTHERS = {"scores": "", "content": "the photo", "truth": "the truth"}
SHOWN = 3


def print_sets(found: Mapping[str, Any]) -> None:
    """The scores of one folder of outputs, and where they are from."""
    table = Table("", "", "95 % interval or error", "better")
    for part, other in OTHERS.items():
        for name, each in found.get(part, {}).items():
            if isinstance(each, dict):
                title, better = TITLES[name]
                table.add_row(title.format(other=other), _number(each["value"]), _sure(each), better)
    memorised = found.get("memorised", {})
    if "share_nearer" in memorised:
        usual = f"{memorised['expected_share']:.1%} by chance"
        table.add_row("outputs nearer to a training image than new ones are", f"{memorised['share_nearer']:.1%}", usual)
    console = _console()
    _heading(console, found)
    console.print(table)
    for each in memorised.get("worst", [])[:SHOWN]:
        line = f"nearest to a training image: {each['file']} to {each['nearest']} ({each['distance']:.3g})"
        console.print(Text(printable(line)), soft_wrap=True)


def print_comparison(found: Mapping[str, Any]) -> None:
    """Two folders of outputs beside each other, and which is better."""
    table = Table("KID to the real images", "", "95 % interval")
    for name in ("a", "b", "difference"):
        table.add_row(found["sets"][name]["folder"] if name in found["sets"] else "A - B", *_both(found[name]))
    console = _console()
    _heading(console, found)
    console.print(table)
    console.print(Text(printable(_verdict(found))), soft_wrap=True)


def _verdict(found: Mapping[str, Any]) -> str:
    if (few := found["fewest"]) < LEAST_IMAGES:
        return f"it cannot be told which is better from {few} images: give {LEAST_IMAGES} or more on each side"
    if found["better"] is None:
        return f"it cannot be told which is better: the interval of the difference holds 0 ({found['pairs']} pairs)"
    better = found["sets"][found["better"]]["folder"]
    ratio = "" if found["ratio"] is None else f"; KID of A is {found['ratio']:.2f} times that of B"
    return f"{better} is better: nearer to the real images ({found['pairs']} pairs){ratio}"


def _heading(console: Console, found: Mapping[str, Any]) -> None:
    for role, each in found["sets"].items():
        formats = ", ".join(f"{count} {suffix}" for suffix, count in each["formats"].items())
        sizes = next(iter(each["sizes"])) if len(each["sizes"]) == 1 else f"{len(each['sizes'])} sizes"
        console.print(
            Text(printable(f"{role}: {each['folder']}: {each['images']} images ({formats}; {sizes})")), soft_wrap=True
        )
    features, protocol = found["features"], found["protocol"]
    console.print(
        Text(f"features: {features['name']} ({features['length']}); protocol {protocol['name']}"), soft_wrap=True
    )
    console.print(Text(f"resize: {protocol['resize']}"), soft_wrap=True)


def _both(each: Mapping[str, float]) -> tuple[str, str]:
    return _number(each["value"]), _sure(each)


def _sure(each: Mapping[str, Any]) -> str:
    if "low" in each:
        return f"{_number(each['low'])} to {_number(each['high'])}"
    if each.get("biased"):
        return "biased: too few images"
    return "" if each.get("error") is None else f"± {each['error']:.2g}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _console() -> Console:
    return Console(highlight=False, emoji=False, markup=False)
