from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.painting.dictionary import Dictionary, build_dictionary
from ganstyle.painting.learned import MOST_LEARNED, learned_dictionary
from ganstyle.painting.patches import means_of, patches_of, without_means
from ganstyle.painting.pursuit import decode, pursue

PATCH = 5


def picture() -> Tensor:
    """Stripes of two directions in two colours, with a little noise."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")
    planes = torch.stack([torch.sin(x), torch.sin(y / 1.5), torch.sin(x + y) / 2])
    return (planes * 0.8 + 0.02 * torch.randn(3, 40, 48, generator=torch.Generator().manual_seed(0)))[None]


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match=r"scikit-learn: pip install 'ganstyle\[study\]', or use --dictionary patches"):
        learned_dictionary(picture(), PATCH, most_atoms=4)


needs_scikit_learn = pytest.mark.skipif(find_spec("sklearn") is None, reason="needs scikit-learn, the extra 'study'")


@pytest.fixture(scope="module")
def learned() -> Dictionary:
    return learned_dictionary(picture(), PATCH, most_atoms=12, most_patches=600)


@needs_scikit_learn
def test_it_is_a_dictionary_like_that_of_patches(learned: Dictionary) -> None:
    count, values = learned.atoms.shape
    assert 4 < count <= 12
    assert values == 3 * PATCH**2
    torch.testing.assert_close(learned.atoms.norm(dim=1), torch.ones(count), atol=1e-5, rtol=0)
    assert without_means(learned.atoms)[1].abs().max() < 1e-5
    torch.testing.assert_close(learned.reduced, learned.atoms @ learned.basis, atol=1e-5, rtol=0)
    assert learned.means.shape == (count, 3)
    assert learned.means.abs().max() <= 1
    assert (learned.norms > 0).all()
    assert ((learned.places >= 0) & (learned.places <= torch.tensor([40 - PATCH, 48 - PATCH]))).all()
    assert learned.places.dtype == learned.turns.dtype == torch.int64
    assert all(each.dtype == torch.float32 for each in (learned.atoms, learned.means, learned.norms))


@needs_scikit_learn
def test_few_learned_atoms_tell_more_than_as_few_patches(learned: Dictionary) -> None:
    patches = patches_of(picture(), PATCH, 2)
    few = build_dictionary(picture(), PATCH, most_atoms=len(learned.atoms))
    errors = [
        (decode(pursue(patches, each, atoms_per_patch=3), each, means_of(patches)) - patches).square().mean()
        for each in (learned, few)
    ]
    assert errors[0] < 0.8 * errors[1]


@needs_scikit_learn
def test_an_atom_lies_where_the_picture_looks_like_it(learned: Dictionary) -> None:
    there = torch.stack([picture()[0, :, y : y + PATCH, x : x + PATCH].flatten() for y, x in learned.places.tolist()])
    shapes = without_means(there)[0]
    alike = torch.nn.functional.cosine_similarity(shapes, learned.atoms)
    assert alike.min() > 0.4
    assert alike.mean() > 0.7


@needs_scikit_learn
def test_a_seed_gives_the_same_atoms_again(learned: Dictionary) -> None:
    again = learned_dictionary(picture(), PATCH, most_atoms=12, most_patches=600)
    other = learned_dictionary(picture(), PATCH, most_atoms=12, most_patches=600, seed=1)
    assert torch.equal(again.atoms, learned.atoms)
    assert not torch.equal(other.atoms[:4], learned.atoms[:4])


@needs_scikit_learn
def test_a_flat_picture_gives_atoms_without_shape() -> None:
    flat = learned_dictionary(torch.full((1, 3, 20, 20), 0.5), PATCH, most_atoms=4)
    assert flat.atoms.isfinite().all()
    assert flat.means.isfinite().all()
    torch.testing.assert_close(flat.means, torch.full_like(flat.means, 0.5))
    assert flat.atoms.abs().max() == 0


@needs_scikit_learn
def test_no_more_atoms_are_learned_than_make_sense() -> None:
    assert len(learned_dictionary(picture(), PATCH, most_atoms=10**6, most_patches=40).atoms) <= 40
    assert MOST_LEARNED < 5000
