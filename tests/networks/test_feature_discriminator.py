from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.methods.cyclegan import frozen
from ganstyle.networks import frozen_vgg, weight_files
from ganstyle.networks.feature_discriminator import JUDGED, FeatureDiscriminator
from ganstyle.networks.frozen_vgg import NoWeights, settled_weights
from ganstyle.networks.vgg_files import FEATURES, load_features
from ganstyle.networks.vgg_layouts import TORCHVISION
from tests.networks.foreign_weights import light_weights, real_light_file


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The light VGG's layout with random weights."""
    path = tmp_path_factory.mktemp("weights") / "light.pth"
    torch.save(light_weights(), path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's cache, empty, and no network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(weight_files.urllib.request, "urlopen", offline)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    yield
    frozen_vgg._read_once.cache_clear()


def discriminator(light: Path, seed: int = 0, **options: object) -> FeatureDiscriminator:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return FeatureDiscriminator(weights=str(light), width=3, **options)  # type: ignore[arg-type]


def pictures(side: int = 32, count: int = 2) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def slow_convolution(maps: Tensor, weight: Tensor, bias: Tensor, *, stride: int) -> Tensor:
    """In float64, the weight divided by its largest singular value."""
    normalised = weight.double() / torch.linalg.svdvals(weight.double().flatten(1)).max()
    return F.conv2d(maps, normalised, bias.double(), stride=stride, padding=1)


ORIGINAL = ("parametrizations.weight.original", "bias")


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_each_map_equals_the_plain_way(light: Path, pooling: str) -> None:
    network, images = discriminator(light, pooling=pooling), pictures()
    for _ in range(200):  # the power iteration has found the largest singular values
        network.heads.train()
        network(images)
    vgg = load_features(None, light, pooling=pooling).double()
    maps = vgg(images.double(), JUDGED)
    network.eval()
    scores = network(images)
    assert [weight for weight, _ in scores] == [0.25] * 4
    for layer, stride, (_, found) in zip(JUDGED, (2, 2, 1, 1), scores, strict=True):
        convolution, score = (
            [network.get_parameter(f"heads.{layer}.{part}.{name}") for name in ORIGINAL] for part in ("conv", "score")
        )
        hidden = slow_convolution(maps[layer] / network.magnitudes[layer], *convolution, stride=stride)
        want = slow_convolution(F.leaky_relu(hidden, 0.2), *score, stride=1)
        torch.testing.assert_close(found.double(), want, rtol=1e-3, atol=1e-4)


def test_maps_are_about_one_when_they_reach_the_heads(light: Path) -> None:
    network = discriminator(light)
    assert all(torch.tensor(each).log2() % 1 == 0 for each in network.magnitudes.values())
    coarse = F.interpolate(pictures(4, 8), (32, 32), mode="bilinear")
    for layer, maps in network.vgg(coarse, JUDGED).items():
        assert 0.4 < (maps / network.magnitudes[layer]).square().mean().sqrt() < 2.5, layer


def test_real_weights_give_photos_about_one() -> None:
    network = FeatureDiscriminator(weights=str(real_light_file()), width=2)
    assert network.magnitudes == {"relu1_2": 16, "relu2_2": 8, "relu3_4": 4, "relu4_4": 2}


def test_layers_are_judged_in_the_networks_order_and_nothing_deeper_is_held(light: Path) -> None:
    network = discriminator(light, layers=["relu2_1", "relu1_1"])
    assert network.layers == ("relu1_1", "relu2_1")
    assert network.vgg.layers == ("relu1_1", "relu1_2", "relu2_1")
    assert [tuple(scores.shape) for _, scores in network(pictures())] == [(2, 1, 16, 16), (2, 1, 8, 8)]


def test_the_vgg_is_in_no_state_parameters_or_optimiser(light: Path) -> None:
    network = discriminator(light)
    assert not [name for name, _ in network.named_parameters() if "vgg" in name]
    assert not [name for name in network.state_dict() if "vgg" in name]
    before = {name: tensor.clone() for name, tensor in network.vgg.named_buffers()}
    assert len(before) == 2 * 12 + 2
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    sum(scores.mean() for _, scores in network(pictures())).backward()
    optimizer.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.vgg.named_buffers())
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_gradients_reach_the_images_through_frozen_heads(light: Path) -> None:
    network, images = discriminator(light), pictures().requires_grad_()
    with frozen(network):
        scores = network(images)
    sum(each.mean() for _, each in scores).backward()
    assert images.grad is not None
    assert images.grad.abs().min(dim=0).values.max() > 0
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_restored_copy_goes_on_exactly(light: Path) -> None:
    """The vectors of the power iteration are part of the state."""
    network, other = discriminator(light), discriminator(light, seed=1)
    network(pictures())
    other.load_state_dict(copy.deepcopy(network.state_dict()))
    for _ in range(2):
        for (_, one), (_, same) in zip(network(pictures()), other(pictures()), strict=True):
            assert torch.equal(one, same)
    for name, tensor in network.state_dict().items():
        if isinstance(tensor, Tensor):
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_its_state_is_refused_with_another_vgg(light: Path, tmp_path: Path) -> None:
    torch.save(light_weights(seed=1), tmp_path / "other.pth")
    other = discriminator(tmp_path / "other.pth")
    network = discriminator(light)
    with pytest.raises(UserError, match=r"on a VGG with the fingerprint \w{16}, and the weights .* put the same"):
        other.load_state_dict(network.state_dict())
    torch.save(light_weights() | {"classifier.weight": torch.ones(1)}, tmp_path / "same.pth")
    discriminator(tmp_path / "same.pth").load_state_dict(network.state_dict())


def test_magnitudes_are_those_it_was_trained_with(light: Path) -> None:
    network, other = discriminator(light), discriminator(light)
    state = copy.deepcopy(network.state_dict())
    state["_extra_state"]["magnitudes"]["relu1_2"] = 0.125
    other.load_state_dict(state)
    assert other.magnitudes["relu1_2"] == 0.125


def test_state_can_be_saved_and_read_without_code(light: Path, tmp_path: Path) -> None:
    torch.save(discriminator(light).state_dict(), tmp_path / "state.pt")
    discriminator(light, seed=1).load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))


def test_copies_are_independent_and_move_whole(light: Path) -> None:
    network = discriminator(light).eval()
    copied = copy.deepcopy(network).to(memory_format=torch.channels_last)
    weight = copied.vgg.get_buffer("convolutions.relu2_2.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert weight.data_ptr() != network.vgg.get_buffer("convolutions.relu2_2.weight").data_ptr()
    for (_, one), (_, same) in zip(network(pictures()), copied(pictures()), strict=True):
        torch.testing.assert_close(one, same)
    assert all(tensor.dtype == torch.float64 for tensor in network.double().buffers())


def test_bfloat16_changes_little(light: Path) -> None:
    network = discriminator(light).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = network(pictures())
    for (_, found), (_, want) in zip(narrow, network(pictures()), strict=True):
        assert found.dtype == torch.bfloat16
        assert (found.float() - want).abs().max() < 0.05 * want.abs().max()


@pytest.mark.parametrize("weights", ["auto", "vgg19", "vgg19-light"])
def test_on_the_meta_device_published_weights_need_not_be_there(cache: Path, weights: str) -> None:
    with torch.device("meta"):
        network = FeatureDiscriminator(weights=weights)
    scores = network(torch.empty(2, 3, 64, 64, device="meta"))
    assert [tuple(each.shape) for _, each in scores] == [(2, 1, 32, 32), (2, 1, 16, 16), (2, 1, 16, 16), (2, 1, 8, 8)]
    assert all(each.is_meta for each in (*network.parameters(), *network.buffers()))
    assert not list(cache.iterdir())


def test_on_the_meta_device_a_file_has_its_own_shapes(light: Path) -> None:
    with torch.device("meta"):
        network = discriminator(light)
    assert network.vgg.get_buffer("convolutions.relu1_2.weight").shape == (16, 16, 3, 3)
    assert all(each.is_meta for each in (*network.parameters(), *network.buffers()))


def test_full_vgg_of_torchvision(tmp_path: Path) -> None:
    stream = torch.Generator().manual_seed(0)
    shapes = TORCHVISION.shapes("relu5_1")
    weights = {f"{key}.weight": torch.randn(shape, generator=stream) * 0.02 for key, shape in shapes.items()}
    weights |= {f"{key}.bias": torch.zeros(shape[0]) for key, shape in shapes.items()}
    torch.save(weights, tmp_path / "vgg.pth")
    network = FeatureDiscriminator(weights=str(tmp_path / "vgg.pth"), layers=["relu1_2", "relu2_2"], width=2)
    assert network.vgg.get_buffer("convolutions.relu2_2.weight").shape == (128, 128, 3, 3)
    assert len(network(torch.zeros(1, 3, network.minimum_px, network.minimum_px))) == 2


def test_building_draws_only_heads(light: Path) -> None:
    """The same heads whatever the VGG costs to load, so that a run's first weights depend on its seed alone."""
    one = discriminator(light)
    frozen_vgg._read_once.cache_clear()
    other = discriminator(light)
    for (name, first), second in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second), name


@pytest.mark.parametrize("shape", [(1, 3, 15, 40), (1, 3, 40, 15)])
def test_small_images_are_one_line(light: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"got images of \d+ x \d+ px, a discriminator on features needs 16 px"):
        discriminator(light)(torch.zeros(shape))
    with pytest.raises(UserError, match="convert images to RGB"):
        discriminator(light)(torch.zeros(1, 1, 32, 32))


def test_weights_are_settled_by_name_or_by_path(cache: Path, light: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(light.parent)
    assert settled_weights(light.name) == str(light)
    with pytest.raises(NoWeights, match=r"cannot download vgg19_light\.pth \(no network\): put https://.* at "):
        settled_weights("auto")
    with pytest.raises(UserError, match=r"cannot download vgg19-dcbb9e9d\.pth") as error:
        settled_weights("vgg19")
    assert not isinstance(error.value, NoWeights)


def test_auto_takes_what_is_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / FEATURES["vgg19-light"].file).write_bytes(real_light_file().read_bytes())
    assert settled_weights("auto") == "vgg19-light"
    assert settled_weights("vgg19-light") == "vgg19-light"


def test_a_cached_file_that_is_not_the_published_one_is_refused(cache: Path, light: Path) -> None:
    (cache / FEATURES["vgg19-light"].file).write_bytes(light.read_bytes())
    with pytest.raises(UserError, match=r"its SHA-256 begins with \w+, not with 9417c34d"):
        settled_weights("vgg19-light")


@pytest.mark.parametrize("content", ["nothing", "text", "other"])
def test_a_wrong_file_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "weights.pth"
    if content == "text":
        path.write_text("<html>not found</html>")
    if content == "other":
        torch.save({"layer.weight": torch.zeros(3)}, path)
    words = {
        "nothing": "there is no file of weights",
        "text": "it looks like a web page",
        "other": "not those of a VGG",
    }
    for attempt in (settled_weights, lambda weights: FeatureDiscriminator(weights=weights)):
        with pytest.raises(UserError, match=words[content]) as error:
            attempt(str(path))
        assert "\n" not in str(error.value)


def test_a_layer_that_the_network_lacks(tmp_path: Path) -> None:
    torch.save(light_weights(), tmp_path / "light.pth")
    with pytest.raises(UserError, match="light VGG-19 has no layer relu5_4"):
        frozen_vgg.frozen_vgg(str(tmp_path / "light.pth"), "relu5_4")


def test_a_replaced_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "light.pth"
    torch.save(light_weights(), path)
    first = discriminator(path).digest
    torch.save(light_weights(seed=1) | {"more": torch.zeros(1)}, path)
    assert discriminator(path).digest != first
