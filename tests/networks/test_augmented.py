from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.methods.passes import Passes
from ganstyle.networks.augmented import DRAWS, TRANSFORMS, USED_BITS, Augmented, DiffAugment
from ganstyle.networks.blocks import BatchNorm
from ganstyle.networks.keyed import keyed_layers, random_bits, set_keys
from ganstyle.networks.patch_discriminator import PatchDiscriminator

KEYS = torch.tensor([5_000_000_000_000_000_001, 17, 2**63 - 2])


def images(count: int = 3, height: int = 13, width: int = 10, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def slow_colour(image: np.ndarray, draws: list[int]) -> np.ndarray:
    brightness, saturation, contrast = (draw / 2**USED_BITS for draw in draws[:3])
    image = image + (brightness - 0.5)
    grey = (image[0] + image[1] + image[2]) / 3
    image = np.stack([(channel - grey) * (saturation * 2) + grey for channel in image])
    return (image - image.mean()) * (contrast + 0.5) + image.mean()


def slow_translation(image: np.ndarray, draws: list[int]) -> np.ndarray:
    _, height, width = image.shape
    most_y, most_x = int(height / 8 + 0.5), int(width / 8 + 0.5)
    down = draws[3] * (2 * most_y + 1) // 2**USED_BITS - most_y
    right = draws[4] * (2 * most_x + 1) // 2**USED_BITS - most_x
    moved = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            if 0 <= y + down < height and 0 <= x + right < width:
                moved[:, y + down, x + right] = image[:, y, x]
    return moved


def slow_cutout(image: np.ndarray, draws: list[int]) -> np.ndarray:
    image = image.copy()
    spans = []
    for side, draw in zip(image.shape[1:], draws[5:], strict=True):
        length = int(side / 2 + 0.5)
        middle = draw * (side + 1 - length % 2) // 2**USED_BITS
        places = range(middle - length // 2, middle - length // 2 + length)
        spans.append([place for place in places if 0 <= place < side])
    for y in spans[0]:
        for x in spans[1]:
            image[:, y, x] = 0
    return image


SLOW = {"colour": slow_colour, "translation": slow_translation, "cutout": slow_cutout}


def whole(bits: list[int]) -> int:
    """The upper bit of each, the first one the lowest."""
    return sum((bit >> 31) << number for number, bit in enumerate(bits))


def slow(batch: Tensor, policy: list[str], *, place: int = 0, first_pass: int = 0) -> np.ndarray:
    bits = random_bits(KEYS, (len(batch), DRAWS, USED_BITS, 1), place, first_pass).flatten(2).tolist()
    result = []
    for image, row in zip(batch.double().numpy(), bits, strict=True):
        changed = image
        for name in policy:
            changed = SLOW[name](
                changed, [sum((bit >> 31) << number for number, bit in enumerate(draw)) for draw in row]
            )
        result.append(changed)
    return np.stack(result)


def keyed(policy: list[str], keys: Tensor = KEYS) -> DiffAugment:
    layer = DiffAugment(policy).train()
    set_keys([layer], keys)
    return layer


@pytest.mark.parametrize("policy", [[name] for name in SLOW] + [["cutout", "colour"], list(SLOW)])
@pytest.mark.parametrize(("height", "width"), [(13, 10), (16, 16), (1, 3)])
def test_equal_to_the_slow_way(policy: list[str], height: int, width: int) -> None:
    assert set(SLOW) == set(TRANSFORMS)
    batch = torch.cat([images(3, height, width), images(3, height, width, seed=1)])
    np.testing.assert_allclose(keyed(policy)(batch).numpy(), slow(batch, policy), atol=1e-5)


def test_every_shift_and_every_middle_is_drawn_about_as_often() -> None:
    keys = torch.arange(4000) * 2**20
    layer = keyed(["translation"], keys)
    marked = torch.zeros(4000, 3, 16, 16)
    marked[:, :, 8, 8] = 1
    places, counts = layer(marked)[:, 0].nonzero()[:, 1:].unique(dim=0, return_counts=True)
    assert sorted(map(tuple, (places - 8).tolist())) == [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
    assert (counts - 160).abs().max() < 5 * 160**0.5
    gone = 1 - keyed(["cutout"], keys)(torch.ones(4000, 3, 16, 16))[:, 0].mean(dim=0)
    assert gone[8, 8] == pytest.approx(64 / 17**2, abs=0.05)
    assert gone.amin() > 0.05


def test_only_in_train_mode() -> None:
    batch = images()
    assert torch.equal(keyed(list(SLOW)).eval()(batch), batch)


def test_gradients_flow() -> None:
    layer, batch = keyed(list(SLOW)), images(3, 6, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(layer, (batch,))


def test_merged_batches_are_changed_independently_and_each_sample_alike_wherever_it_is() -> None:
    layer, one, other = keyed(list(SLOW)), images(), images()
    together = layer(torch.cat([one, other]))
    assert torch.equal(together[:3], layer(one))
    assert not torch.allclose(together[3:], together[:3])
    for sample in range(3):
        alone = keyed(list(SLOW), KEYS[sample : sample + 1])(torch.stack([one[sample], other[sample]]))
        torch.testing.assert_close(alone, together[sample::3])


def test_passes_one_by_one_draw_what_merged_ones_do() -> None:
    class Judge(nn.Module):
        def __init__(self, norm: nn.Module) -> None:
            super().__init__()
            self.augment, self.norm, self.minimum_px = DiffAugment(list(SLOW)), norm, 1

        def forward(self, batch: Tensor) -> Tensor:
            return self.augment(batch)

    one, other = images(), images(seed=1)
    results = []
    for norm in (nn.Identity(), BatchNorm(3)):
        judge = Judge(norm).train()
        set_keys(keyed_layers([judge]), KEYS)
        passes = Passes(judge)
        assert passes.merged is isinstance(norm, nn.Identity)
        results.append(torch.cat(passes(judge, one, other)))
        assert judge.augment.first_pass == 0
    torch.testing.assert_close(*results)


def test_a_pass_that_fails_leaves_nothing_behind() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.augment, self.norm = DiffAugment(["cutout"]), BatchNorm(3)

        def forward(self, batch: Tensor) -> Tensor:
            if self.augment.first_pass:
                raise RuntimeError("out of luck")
            return batch

    network = Fails()
    with pytest.raises(RuntimeError, match="out of luck"):
        Passes(network)(network, images(), images())
    assert network.augment.first_pass == 0


def test_without_keys_torchs_generator_draws() -> None:
    layer = DiffAugment(list(SLOW)).train()
    torch.manual_seed(3)
    one = layer(images())
    torch.manual_seed(3)
    assert torch.equal(layer(images()), one)
    assert not torch.equal(layer(images()), one)


def test_only_rgb_images() -> None:
    with pytest.raises(UserError, match="convert images to RGB"):
        keyed(["cutout"])(torch.zeros(1, 4, 8, 8))


def test_a_discriminator_is_itself_in_eval_mode_and_keeps_its_weights_below_it() -> None:
    plain = PatchDiscriminator(width=2, layers=1)
    augmented = Augmented(plain, list(SLOW)).eval()
    assert augmented.minimum_px == plain.minimum_px
    assert torch.equal(augmented(images(3, 16, 16)), plain(images(3, 16, 16)))
    assert not torch.equal(augmented.train()(images(3, 16, 16)), plain(images(3, 16, 16)))
    assert {name.removeprefix("discriminator.") for name in augmented.state_dict()} == set(plain.state_dict())


def test_channels_last_and_bfloat16() -> None:
    layer = keyed(list(SLOW))
    plain = layer(images(3, 16, 16))
    torch.testing.assert_close(layer(images(3, 16, 16).to(memory_format=torch.channels_last)), plain)
    narrow = layer(images(3, 16, 16).bfloat16())
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow.float(), plain, atol=0.1, rtol=0.1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_compiled_it_is_the_same() -> None:
    layer = keyed(list(SLOW))
    compiled = torch.compile(layer, dynamic=False, fullgraph=True)
    batch = images(6, 16, 16)
    torch.testing.assert_close(compiled(batch), layer(batch))
    with torch.compiler.set_stance("fail_on_recompile"):
        set_keys([layer], KEYS.flip(0))
        torch.testing.assert_close(compiled(batch), layer(batch))
