"""How far apart two sets of images are, told from their features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ganstyle.base.errors import UserError

SMALLEST_SHARE = 0.5  # of the median deviation; see Standardisation
LIMIT = 3.0  # deviations
STANDARDISED = (
    f"each in deviations of the real images' own, z, softly limited to {LIMIT:g}: z / sqrt(1 + (z / {LIMIT:g})^2)"
)


@dataclass(frozen=True)
class Standardisation:
    """Measures each feature in deviations of one reference set, softly limited to +-3; (N, D) -> (N, D) float64.

    The cubic kernel below is ruled by whichever features have the largest numbers. Random features differ in size for
    no meaningful reason, so each is measured in deviations of the real style images, and of these alone: were outputs
    to set the scale, a set of outputs could shrink its own distance. A feature that hardly varies among the style
    images is divided by half of the median deviation instead. What is left, z, becomes z / sqrt(1 + (z / 3)^2): almost
    unchanged where style images lie, but a few features far outside cannot grow to the third power and decide alone.

    A scale from few images is itself uncertain, which no interval for given features tells of, and distances come out
    higher: on the random network by 3 % from 50 images, by 5 % from 30, and from 10 nearly twice as high.
    """

    mean: np.ndarray
    deviation: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Standardise features (N, D) of any set of images."""
        z = (np.asarray(features, np.float64) - self.mean) / self.deviation
        return z / np.sqrt(1 + (z / LIMIT) ** 2)


def standardise(reference: np.ndarray) -> Standardisation:
    """Take the scale of each feature from the real style images' features (M, D)."""
    reference = np.asarray(reference, np.float64)
    deviation = reference.std(axis=0)
    varying = deviation[deviation > 0]
    floor = SMALLEST_SHARE * float(np.median(varying)) if len(varying) else 1.0
    return Standardisation(reference.mean(axis=0), np.maximum(deviation, floor))


def kernel_distance(features_x: np.ndarray, features_y: np.ndarray) -> float:
    """Kernel Inception Distance's estimator on any features: the unbiased squared MMD over all pairs.

    Features are (N, D) and (M, D); computed in float64. Zero on average for two samples of one distribution, so single
    values can be negative. Kernel (x . y / D + 1)^3. Source: Binkowski et al. 2018, "Demystifying MMD GANs", section 4;
    unbiased estimator: Gretton et al. 2012, equation 3.
    Differs from the paper: all pairs at once instead of the mean over random subsets; the features are the caller's.

    Raises:
        UserError: fewer than two images on a side.
        ValueError: features of different length, or not finite.
    """
    kernels = _kernels(features_x, features_y)
    count_x, count_y = kernels[2].shape
    return float(_squared_mmd(*kernels, np.ones((1, count_x)), np.ones((1, count_y)))[0])


def kernel_distance_deviation(
    features_x: np.ndarray, features_y: np.ndarray, stream: np.random.Generator, *, resamples: int = 200
) -> float:
    """Standard deviation of `kernel_distance` by the bootstrap.

    Both sets are drawn again with replacement, `resamples` times. An image drawn twice is never paired with itself:
    such pairs are what the unbiased estimator leaves out.
    Raises as `kernel_distance` does.
    """
    counts = draw_resamples(len(features_x), len(features_y), stream, resamples=resamples)
    return float(np.std(kernel_distance_resampled(features_x, features_y, *counts), ddof=1))


def draw_resamples(
    count_x: int, count_y: int, stream: np.random.Generator, *, resamples: int
) -> tuple[np.ndarray, np.ndarray]:
    """How often each image of two sets is drawn in each resample: (R, N) and (R, M)."""
    draws = [(_draw_counts(count_x, stream), _draw_counts(count_y, stream)) for _ in range(resamples)]
    counts_x, counts_y = (np.stack(counts) for counts in zip(*draws, strict=True))
    return counts_x, counts_y


def kernel_distance_resampled(
    features_x: np.ndarray, features_y: np.ndarray, counts_x: np.ndarray, counts_y: np.ndarray
) -> np.ndarray:
    """`kernel_distance` of each resample (R,) that `draw_resamples` drew; raises as `kernel_distance` does."""
    return _squared_mmd(*_kernels(features_x, features_y), counts_x, counts_y)


def enough_for_frechet(count: int, dimensions: int) -> bool:
    """Whether `count` images on each side tell a Fréchet distance on features of that length: more than their number.

    The covariance of n images has rank n - 1 at most. With fewer, the spread along whole directions counts as none,
    and the distance says how many images there were more than how far apart they are. Even above, it is biased
    upwards for small sets, which the kernel distance is not.
    """
    return count > dimensions


def frechet_distance(features_x: np.ndarray, features_y: np.ndarray) -> float:
    """Fréchet Inception Distance on any features: the squared distance of two normal distributions fitted to them.

    |m_x - m_y|^2 + tr(C_x) + tr(C_y) - 2 tr((C_x C_y)^(1/2)) for features (N, D) and (M, D) with means m and
    covariances C (divided by the number of images less one); computed in float64. See `enough_for_frechet`.
    Source: Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule", equation 6.

    Raises as `kernel_distance` does.
    """
    x, y = np.asarray(features_x, np.float64), np.asarray(features_y, np.float64)
    _check(x, y)
    root_x, root_y = _covariance_root(x), _covariance_root(y)
    # With C = R'R, the eigenvalues of C_x C_y are the squared singular values of R_x R_y'. These are found to full
    # precision; the root of a product of nearly singular covariances is not, and can come out complex.
    trace_of_root = np.linalg.svd(root_x @ root_y.T, compute_uv=False).sum()
    shift = x.mean(axis=0) - y.mean(axis=0)
    return float(shift @ shift + (root_x**2).sum() + (root_y**2).sum() - 2 * trace_of_root)


def _covariance_root(features: np.ndarray) -> np.ndarray:
    """R, at most (D, D), with R'R the covariance of the features."""
    centred = features - features.mean(axis=0)
    return np.linalg.qr(centred, mode="r") / np.sqrt(len(features) - 1)


def _kernels(features_x: np.ndarray, features_y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kernel values within x and within y (each with a zero diagonal) and between them."""
    x, y = np.asarray(features_x, np.float64), np.asarray(features_y, np.float64)
    _check(x, y)
    within_x, within_y, between = _cubic(x, x), _cubic(y, y), _cubic(x, y)
    np.fill_diagonal(within_x, 0)
    np.fill_diagonal(within_y, 0)
    return within_x, within_y, between


def _check(x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"features of shapes {x.shape} and {y.shape}; expected (N, D) and (M, D)")
    if min(len(x), len(y)) < 2:
        raise UserError(f"a distance between {len(x)} and {len(y)} images: give at least 2 on each side")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("features hold NaN or infinity")


def _cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _squared_mmd(
    within_x: np.ndarray, within_y: np.ndarray, between: np.ndarray, counts_x: np.ndarray, counts_y: np.ndarray
) -> np.ndarray:
    """The unbiased squared MMD of R samples (R,) in which image i stands `counts[r, i]` times."""
    pairs_x = counts_x.sum(axis=1) ** 2 - (counts_x**2).sum(axis=1)
    pairs_y = counts_y.sum(axis=1) ** 2 - (counts_y**2).sum(axis=1)
    mean_x = _total(counts_x, within_x, counts_x) / pairs_x
    mean_y = _total(counts_y, within_y, counts_y) / pairs_y
    mean_between = _total(counts_x, between, counts_y) / (counts_x.sum(axis=1) * counts_y.sum(axis=1))
    return mean_x + mean_y - 2 * mean_between


def _total(counts_x: np.ndarray, kernel: np.ndarray, counts_y: np.ndarray) -> np.ndarray:
    """For each sample the sum of the kernel over its pairs; all samples in one product, which reads it only once."""
    return ((counts_x @ kernel) * counts_y).sum(axis=1)


def _draw_counts(count: int, stream: np.random.Generator) -> np.ndarray:
    """How often each of `count` images is drawn in `count` draws; drawn again while all draws are one image."""
    while True:
        counts = np.bincount(stream.integers(count, size=count), minlength=count)
        if np.count_nonzero(counts) > 1:
            return counts.astype(np.float64)
