"""Whether outputs are copies of images that were trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ganstyle.evaluate.image_sets import ImageSet
from ganstyle.evaluate.manifold import nearest

NEAR_QUANTILE = 0.01  # of new images' own distances to the training images
WORST = 5
LEAST_NEW = 2

Warn = Callable[[str], None]


def memorised(sets: dict[str, ImageSet], features: dict[str, np.ndarray], warn: Warn) -> dict[str, Any]:
    """How near each output is to a training image, beside how near real images are that were not trained on.

    The threshold is the distance that one in a hundred of those new images falls short of (with fewer than a hundred,
    that of the nearest or just above it): an output below it is nearer to a training image than new images of the same
    style come by chance. About as many outputs as `expected_share` lie there without having copied anything; the
    threshold judges the set, and only looking at the worst ones judges an image.

    Args:
        sets: `fake`, `real` and `train`; images of `real` that are in `train`, pixel for pixel, are not new.
        features: of the same roles, (N, D).
        warn: told why there is no threshold, and when many outputs lie below it.

    Returns:
        `median_distance`, `worst` (the nearest outputs: `file`, `nearest`, `distance`), `copies` (outputs that are
        training images, pixel for pixel), and, unless there are no new images, `new_images`,
        `median_distance_of_new`, `threshold`, `share_nearer` and `expected_share`.
    """
    fake, real, train = sets["fake"], sets["real"], sets["train"]
    trained = set(train.digests)
    numbers, apart = nearest(features["fake"], features["train"])
    found: dict[str, Any] = {
        "median_distance": float(np.median(apart)),
        "copies": sum(digest in trained for digest in fake.digests),
        "worst": [
            {
                "file": str(fake.paths[number]),
                "nearest": str(train.paths[numbers[number]]),
                "distance": float(apart[number]),
            }
            for number in np.argsort(apart, kind="stable")[:WORST]
        ],
    }
    if found["copies"]:
        warn(f"memorised: {found['copies']} outputs are images of {train.folder}, pixel for pixel")
    new = [number for number, digest in enumerate(real.digests) if digest not in trained]
    if len(new) < LEAST_NEW:
        warn(
            f"memorised: {len(new)} of {len(real.paths)} images of {real.folder} are not in {train.folder}; a "
            f"threshold takes {LEAST_NEW} new ones"
        )
        return found
    _, usual = nearest(features["real"][new], features["train"])
    return found | _judged(apart, usual, warn)


def _judged(apart: np.ndarray, usual: np.ndarray, warn: Warn) -> dict[str, Any]:
    threshold = float(np.quantile(usual, NEAR_QUANTILE))
    share = float((apart < threshold).mean())
    # The chance that another draw of the same kind lies below the nearest of n is 1 / (n + 1).
    expected = max(NEAR_QUANTILE, 1 / (len(usual) + 1))
    spread = np.sqrt(expected * (1 - expected) * (1 / len(apart) + 1 / len(usual)))
    if share > expected + 3 * spread:
        warn(
            f"memorised: {share:.0%} of outputs are nearer to a training image than new images come by chance "
            f"({expected:.0%} are expected): look at the nearest ones"
        )
    return {
        "new_images": len(usual),
        "median_distance_of_new": float(np.median(usual)),
        "threshold": threshold,
        "share_nearer": share,
        "expected_share": expected,
    }
