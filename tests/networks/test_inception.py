from __future__ import annotations

import hashlib
import io
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.networks import inception
from ganstyle.networks.inception import Inception, cached_file, download, is_inception, is_published
from tests.networks.foreign_weights import inception_weights

CONTENT = b"weights of some network"
DIGEST = hashlib.sha256(CONTENT).hexdigest()[:8]


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return inception_weights()


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which torch's hub keeps weights, empty and of this test alone."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server on this machine; it has the content under its own digest and under another."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "served"
    folder.mkdir()
    for name in (f"weights-{DIGEST}.pth", "weights-00000000.pth"):
        (folder / name).write_bytes(CONTENT)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_features_are_those_of_the_published_network_on_8_bit_images(weights: dict[str, Tensor]) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    buffer = io.BytesIO()
    torch.save(weights, buffer)
    buffer.seek(0)
    published = FeatureExtractorInceptionV3("published", ["2048"], feature_extractor_weights_path=buffer)
    pixels = torch.randint(0, 256, (2, 3, 40, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (expected,) = published(pixels)

    torch.manual_seed(9)
    before = torch.get_rng_state()
    network = Inception(weights)
    assert torch.equal(before, torch.get_rng_state())
    assert not network.training
    found = network((pixels.float() / 127.5 - 1).requires_grad_())
    assert found.shape == (2, 2048)
    assert not found.requires_grad
    assert torch.equal(found, expected)
    assert not torch.allclose(found[0], found[1])


def test_every_8_bit_value_comes_back_from_the_range_of_tensors() -> None:
    network = Inception.__new__(Inception)
    torch.nn.Module.__init__(network)
    network.network = lambda pixels: (pixels,)
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(network(every.float().div_(127.5).sub_(1)), every)


def test_weights_that_lack_something_are_told_in_one_line(weights: dict[str, Tensor]) -> None:
    lacking = {name: tensor for name, tensor in weights.items() if name != "Mixed_7c.branch_pool.conv.weight"}
    with pytest.raises(UserError, match=r"not all weights .*Mixed_7c\.branch_pool\.conv\.weight") as caught:
        Inception(lacking)
    assert "\n" not in str(caught.value)


def test_without_the_extra_the_command_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    assert not inception.is_installed()
    with pytest.raises(UserError, match=r"pip install 'ganstyle\[evaluate\]'"):
        Inception({})


def test_it_is_recognised_by_its_tensors() -> None:
    stem = {"Conv2d_1a_3x3.conv.weight": torch.zeros(1)}
    assert is_inception({**stem, "fc.weight": torch.zeros(1008, 2048)})
    assert not is_inception({**stem, "fc.weight": torch.zeros(1000, 2048)})
    assert not is_inception({"fc.weight": torch.zeros(1008, 2048)})
    assert not is_inception({})


def test_the_published_file_is_known_by_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "any name"
    path.write_bytes(CONTENT)
    assert not is_published(path)
    monkeypatch.setattr(inception, "DIGEST", DIGEST)
    assert is_published(path)
    assert inception.URL.endswith("/" + inception.FILE)


def test_a_download_lands_in_the_cache(server: str, hub: Path) -> None:
    path = download(f"{server}/weights-{DIGEST}.pth")
    assert path == hub / f"weights-{DIGEST}.pth"
    assert path.read_bytes() == CONTENT
    assert list(hub.iterdir()) == [path]


@pytest.mark.parametrize(("name", "reason"), [("weights-00000000.pth", "SHA-256 begins"), ("gone-1.pth", "404")])
def test_what_should_not_come_is_refused_and_nothing_is_kept(server: str, hub: Path, name: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"cannot download.*{reason}"):
        download(f"{server}/{name}")
    assert not list(hub.glob("*"))


def test_without_a_network_it_says_which_file_to_put_where(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as once:
        once.bind(("127.0.0.1", 0))
        port = once.getsockname()[1]
    closed = f"http://127.0.0.1:{port}/weights-11111111.pth"
    with pytest.raises(UserError) as caught:
        download(closed)
    told = str(caught.value)
    assert f"put {closed} at {hub / 'weights-11111111.pth'}" in told
    assert "evaluate.weights=PATH" in told
    assert "\n" not in told


def test_the_file_of_torch_fidelity_and_of_pytorch_fid_is_found(hub: Path) -> None:
    assert cached_file() is None
    hub.mkdir(parents=True)
    (hub / "pt_inception-2015-12-05-6726825d.pth").write_bytes(CONTENT)
    assert cached_file() == hub / "pt_inception-2015-12-05-6726825d.pth"
    (hub / inception.FILE).write_bytes(CONTENT)
    assert cached_file() == hub / inception.FILE
