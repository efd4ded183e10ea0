from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError
from ganstyle.data.tensors import to_tensor
from ganstyle.evaluate.describers import Describer, describer
from ganstyle.evaluate.distances import kernel_distance, standardise
from ganstyle.networks import inception
from ganstyle.networks.features import RandomFeatures
from ganstyle.networks.vgg import VggStatistics, load_vgg
from tests.networks.foreign_weights import inception_weights, light_weights, real_light_file, torchvision_features

CPU = torch.device("cpu")
IMAGES = Draws(seed=4).stream("images").integers(0, 256, size=(11, 24, 20, 3), dtype=np.uint8)
PHOTO2INK = Path(__file__).resolve().parents[2] / "../shared/data/photo2ink"


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which torch's hub keeps weights, empty and of this test alone."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(inception_weights(), path)
    return path


def light_file(folder: Path, seed: int = 0) -> Path:
    path = folder / f"light-{seed}.pth"
    torch.save({"epoch": 1, "model": light_weights(seed)}, path)
    return path


def check_words(made: Describer, *, published: bool) -> None:
    assert made.published is published
    assert "\n" not in made.statement
    assert ("as published" in made.statement) is published
    assert ("only within this project" in made.statement) is not published


def test_the_random_network_needs_no_file() -> None:
    made = describer("random", CPU)
    assert made.name == "random network"
    assert made.minimum_px == 16
    check_words(made, published=False)
    rows = made(IMAGES)
    assert rows.dtype == np.float64
    assert rows.shape == (11, 256)
    np.testing.assert_allclose(rows, RandomFeatures()(to_tensor(IMAGES)), rtol=1e-5, atol=1e-6)


def test_auto_is_the_random_network_where_inception_is_not_at_hand(
    hub: Path, inception_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert describer("auto", CPU).name == "random network"
    (hub / inception.FILE).symlink_to(inception_file)
    monkeypatch.setattr(inception, "is_installed", lambda: False)
    assert describer("auto", CPU).name == "random network"


@pytest.mark.parametrize("weights", ["auto", "inception"])
def test_inception_is_taken_from_the_cache(hub: Path, inception_file: Path, weights: str) -> None:
    (hub / inception.FILE).symlink_to(inception_file)
    made = describer(weights, CPU)
    assert made.name == "Inception"
    assert made(IMAGES[:1]).shape == (1, 2048)


def test_inception_is_fetched_where_it_is_asked_for(inception_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception, "download", lambda: inception_file)
    assert describer("inception", CPU).name == "Inception"
    monkeypatch.setattr(inception, "is_installed", lambda: False)
    monkeypatch.setattr(inception, "download", lambda: pytest.fail("for nothing"))
    with pytest.raises(UserError, match=r"pip install 'ganstyle\[evaluate\]'"):
        describer("inception", CPU)


def test_only_the_published_file_gives_published_scores(inception_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_words(describer(str(inception_file), CPU), published=False)
    monkeypatch.setattr(inception, "is_published", lambda path: path == inception_file)
    check_words(describer(str(inception_file), CPU), published=True)


def test_the_light_vgg_is_recognised(tmp_path: Path) -> None:
    path = light_file(tmp_path)
    made = describer(str(path), CPU)
    assert (made.name, made.minimum_px) == ("light VGG-19", 17)
    check_words(made, published=False)
    expected = VggStatistics(load_vgg(path))(to_tensor(IMAGES))
    np.testing.assert_allclose(made(IMAGES), expected, rtol=1e-4, atol=1e-5)


def test_the_usual_vgg_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "vgg.pth"
    torch.save({f"features.{name}": tensor for name, tensor in torchvision_features().state_dict().items()}, path)
    made = describer(str(path), CPU)
    assert (made.name, made.minimum_px) == ("VGG-19", 16)
    check_words(made, published=False)
    assert made(IMAGES[:1]).shape == (1, 2944)


def test_an_image_is_described_the_same_in_any_company() -> None:
    made = describer("random", CPU)
    np.testing.assert_allclose(made(IMAGES[9:]), made(IMAGES)[9:], rtol=1e-5, atol=1e-6)


def test_the_fingerprint_tells_networks_and_weights_apart_and_not_files(tmp_path: Path) -> None:
    first, other = light_file(tmp_path, 0), light_file(tmp_path, 1)
    moved = tmp_path / "moved.pth"
    torch.save(light_weights(0), moved)
    made = {path: describer(str(path), CPU).fingerprint for path in (first, other, moved)}
    assert made[first] == made[moved] != made[other]
    assert describer("random", CPU).fingerprint == describer("random", CPU).fingerprint not in made.values()


def test_other_files_are_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"model.1.weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match=r"other\.pth holds another network \(its first tensor is 'model\.1\.weight'"):
        describer(str(path), CPU)
    with pytest.raises(UserError, match="there is no file of weights at rondom"):
        describer("rondom", CPU)


def real_images(folder: str, count: int = 30) -> np.ndarray:
    """Squares of 128 px from all over the folder, read without the project."""
    files = sorted((PHOTO2INK / folder).iterdir())
    files = files[:: len(files) // count][:count]
    assert len(files) == count
    halves = [cv2.resize(cv2.imread(str(file)), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for file in files]
    return np.stack([half[:128, :128, ::-1] for half in halves])


@pytest.mark.parametrize("network", ["random", "light"])
def test_real_paintings_are_nearer_to_other_paintings_than_photos_are(network: str) -> None:
    if not PHOTO2INK.is_dir():
        pytest.skip("../shared/data/photo2ink is not here")
    made = describer("random" if network == "random" else str(real_light_file()), CPU)
    paintings, others, photos = (made(real_images(folder)) for folder in ("trainB", "testB", "testA"))
    scale = standardise(paintings)
    near, far = (kernel_distance(scale(each), scale(paintings)) for each in (others, photos))
    assert far > 10 * abs(near)
    assert far > 1
