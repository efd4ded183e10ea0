"""Random draws as pure functions of what they are for.

No generator is ever saved: a stream is hashed from (seed, step, roll-backs, purpose, sample), so that any step can be
drawn again alone, and the result does not depend on how samples are spread over workers or ranks.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np


def stream_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part and on their order (BLAKE2b over their types and texts)."""
    # A numpy integer would give another stream than the same int, and the separator inside a text another's stream.
    assert all(type(part) in (int, str) and "\x1f" not in str(part) for part in parts), parts
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


@dataclass(frozen=True)
class Draws:
    """The random streams of one step of one run; picklable, so that loader workers draw what the main process would."""

    seed: int
    step: int = 0
    rollbacks: int = 0

    def at(self, step: int) -> Draws:
        """The streams of another step of the same run."""
        return replace(self, step=step)

    def key(self, purpose: str, sample: int = 0) -> int:
        """The seed of one stream; `sample` is the global sample index, never a rank or a worker."""
        return stream_seed(self.seed, self.step, self.rollbacks, purpose, sample)

    def stream(self, purpose: str, sample: int = 0) -> np.random.Generator:
        """A numpy generator for one purpose and one sample."""
        return np.random.Generator(np.random.PCG64(self.key(purpose, sample)))
