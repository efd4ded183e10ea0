"""What people hand to a model of any runtime, and several arrays at once. No torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ganstyle.base.errors import UserError, one_line
from ganstyle.data.images import Unreadable, from_pil, is_pil, read_image, to_pil

Many = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
EXPECTED = "a path, a PIL image or an array"


def translate_any(image: Any, many: Many, *, expected: str = EXPECTED) -> Any:
    """Translate a path, a PIL image or arrays with a function of arrays (H, W, 3); gives the same kind.

    - a path, or a PIL image: a PIL image (RGB, 8 bits);
    - a numpy array uint8 or uint16 (H, W, 3) or (N, H, W, 3), RGB: an array of that shape and dtype.

    Args:
        image: what is to be translated.
        many: translates arrays that can be written to.
        expected: what to name in the error for anything else.

    Raises:
        UserError: a file that cannot be read, or another kind, shape or dtype.
    """
    for recognises, translate in KINDS:
        if recognises(image):
            return translate(image, many)
    raise UserError(f"cannot translate a {type(image).__name__}: expected {expected}")


def in_batches(
    arrays: Sequence[np.ndarray],
    *,
    together: Callable[[np.ndarray], np.ndarray | None],
    alone: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray]:
    """Translate arrays (H, W, 3) in their order, those of one size and dtype in batches as large as can be.

    Args:
        arrays: any number of them.
        together: translates (N, H, W, 3), N > 1; None where that cannot be: then each half is tried.
        alone: translates one.
    """
    if len(arrays) < 2:
        return [alone(each) for each in arrays]
    if len({(each.shape, each.dtype) for each in arrays}) == 1:
        translated = together(np.stack(arrays))
        if translated is not None:
            return list(translated)
    middle = len(arrays) // 2
    return [
        result
        for part in (arrays[:middle], arrays[middle:])
        for result in in_batches(part, together=together, alone=alone)
    ]


def _path(path: str | os.PathLike[str], many: Many) -> Any:
    try:
        (translated,) = many([read_image(Path(path)).pixels])
    except Unreadable as error:
        raise UserError(f"{path}: {error}") from error
    return to_pil(translated)


def _pil(image: Any, many: Many) -> Any:
    try:
        pixels = from_pil(image)
    except (Unreadable, OSError, SyntaxError) as error:
        raise UserError(f"the image cannot be used: {one_line(error)}") from error
    return to_pil(many([pixels])[0])


def _array(array: np.ndarray, many: Many) -> np.ndarray:
    known = array.dtype in (np.uint8, np.uint16)
    if not known or array.ndim not in (3, 4) or array.shape[-1] != 3 or 0 in array.shape:
        raise UserError(
            f"got an array {array.dtype} {array.shape}: expected uint8 or uint16 (H, W, 3) or (N, H, W, 3), RGB"
        )
    # torch warns of arrays that cannot be written to, such as those of PIL images.
    array = array if array.flags.writeable else array.copy()
    return many([array])[0] if array.ndim == 3 else np.stack(many(list(array)))


KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any, Many], Any]], ...] = (
    (lambda image: isinstance(image, str | os.PathLike), _path),
    (lambda image: isinstance(image, np.ndarray), _array),
    (is_pil, _pil),
)
