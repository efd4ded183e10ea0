"""A learned dictionary of a picture's patches in place of the patches themselves, for study."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError
from ganstyle.painting.dictionary import Dictionary, build_dictionary

MOST_LEARNED = 256
ALPHA = 2.0  # what a coefficient costs, in lengths of a patch over the root of its dimensions
ITERATIONS, BATCH = 6, 512  # passes over the patches, and how many are looked at together
LEAST_NORM = 1e-6


def learned_dictionary(
    style: Tensor,
    patch_px: int,
    *,
    most_atoms: int = MOST_LEARNED,
    most_patches: int = 8_000,
    rotations: bool = False,
    seed: int = 0,
    keep_variance: float = 0.95,
) -> Dictionary:
    """Learn atoms of which patches of the picture are sums of few, with weights that are not negative.

    Minimises 1/2 ||x - D c||^2 + alpha ||c||_1 over atoms of unit length and c >= 0, over patches x without their
    means, in the space of the principal components that `build_dictionary` keeps. An atom was cut out nowhere: its
    mean, norm, place and turn are told by the patches that it makes up: mean and norm weighted by its coefficients,
    place and turn of the patch that has most of it.

    Source: Mairal et al. 2009, "Online dictionary learning for sparse coding", algorithm 1, in scikit-learn.
    Differs from the paper: the weights are not negative, as those of the pursuit that uses the atoms.

    Args:
        style: the picture (1, 3, H, W) in [-1, 1].
        patch_px: the side of a patch.
        most_atoms: how many atoms are learned, MOST_LEARNED at most.
        most_patches: how many patches they are learned from, at most.
        rotations: learn from patches turned by quarters too.
        seed: of the patches, if there are more, and of the first atoms.
        keep_variance: the share that the principal components hold.

    Raises:
        UserError: scikit-learn is not installed.
    """
    patches = build_dictionary(
        style, patch_px, most_atoms=most_patches, rotations=rotations, seed=seed, keep_variance=keep_variance
    )
    count = max(1, min(most_atoms, MOST_LEARNED, len(patches.atoms)))
    samples = (patches.reduced * patches.norms[:, None]).double().cpu().numpy()
    atoms, codes = _learn(samples, count, Draws(seed).key(f"learned dictionary, {patch_px} px"))
    return _as_dictionary(patches, atoms, torch.from_numpy(codes).to(patches.atoms))


def _learn(samples: np.ndarray, count: int, key: int) -> tuple[np.ndarray, np.ndarray]:
    """Atoms (K, d) and the code (N, K) of samples (N, d); atoms that make up nothing are left out."""
    try:
        from sklearn.decomposition import MiniBatchDictionaryLearning  # noqa: PLC0415 - an extra
        from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
    except ImportError as error:
        raise UserError(
            "a learned dictionary needs scikit-learn: pip install 'ganstyle[study]', or use --dictionary patches"
        ) from error
    scale = max(float(np.sqrt((samples**2).sum(axis=1).mean())), LEAST_NORM)
    learner = MiniBatchDictionaryLearning(
        count,
        alpha=ALPHA / np.sqrt(samples.shape[1]),
        max_iter=ITERATIONS,
        batch_size=min(BATCH, len(samples)),
        fit_algorithm="cd",
        transform_algorithm="lasso_cd",
        positive_code=True,
        random_state=key % 2**32,
    )
    with warnings.catch_warnings():  # of code that is found to a few per cent: good enough to learn from
        warnings.simplefilter("ignore", ConvergenceWarning)
        codes = learner.fit_transform(samples / scale)
    used = codes.sum(axis=0) > 0
    if not used.any():  # a flat picture
        return samples[:1], np.ones((len(samples), 1))
    return learner.components_[used], codes[:, used] * scale


def _as_dictionary(patches: Dictionary, atoms: np.ndarray, codes: Tensor) -> Dictionary:
    """Atoms in the space of principal components (K, d) with the code (N, K) of these patches as a dictionary."""
    reduced = torch.from_numpy(np.ascontiguousarray(atoms)).to(patches.reduced)
    lengths = reduced.norm(dim=1, keepdim=True).clamp(min=LEAST_NORM)
    reduced, codes = reduced / lengths, codes * lengths.T
    weights = codes / codes.sum(dim=0)
    most = codes.argmax(dim=0)
    return replace(
        patches,
        atoms=reduced @ patches.basis.T,
        means=weights.T @ patches.means,
        norms=(weights * codes).sum(dim=0),
        reduced=reduced,
        places=patches.places[most],
        turns=patches.turns[most],
    )
