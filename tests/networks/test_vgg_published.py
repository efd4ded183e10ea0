from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.networks.vgg import Vgg
from ganstyle.networks.vgg_files import FEATURES, load_features
from ganstyle.networks.vgg_layouts import LIGHT, POOLINGS
from ganstyle.networks.weight_files import is_published
from tests.networks.foreign_weights import light_weights, real_light_file

CONTENT = b"weights" * 1000


@pytest.fixture
def broken_off() -> Iterator[str]:
    """The address of a server that promises a whole file and hangs up after half of it."""

    class Half(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: len(CONTENT) // 2])

        def log_message(self, *_: object) -> None:
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Half)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}/half.pth"
    served.shutdown()
    served.server_close()


def test_half_a_file_is_refused_and_not_kept(broken_off: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    whole = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setitem(FEATURES, "vgg19-light", replace(FEATURES["vgg19-light"], url=broken_off, digest=whole))
    with pytest.raises(UserError, match=r"cannot download .*or name a file with --weights") as caught:
        load_features()
    assert "\n" not in str(caught.value)
    assert not [each for each in tmp_path.rglob("*") if each.is_file()]


def test_the_real_light_file_is_the_published_one() -> None:
    path = real_light_file()
    assert is_published(path, FEATURES["vgg19-light"].digest)
    assert load_features(weights=path).name == "light VGG-19"


def held_bytes(vgg: Vgg, picture: Tensor, deepest: str) -> int:
    """What torch keeps for the gradient, by its own count, the weights left out."""
    weights = {each.untyped_storage().data_ptr() for each in vgg.parameters()}
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        maps = vgg(picture, [deepest])
    del maps
    return sum(size for place, size in held.items() if place not in weights)


@pytest.mark.parametrize("deepest", ["relu1_1", "relu2_2", "relu4_2", "relu5_1"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_is_held_for_the_gradient_is_foreseen(pooling: str, deepest: str) -> None:
    vgg = Vgg(LIGHT, light_weights(), pooling=pooling, padding="replicate")
    picture = torch.zeros(1, 3, 256, 256, requires_grad=True)
    per_pixel = held_bytes(vgg, picture, deepest) / 256**2
    assert per_pixel == pytest.approx(vgg.bytes_per_pixel(deepest), rel=0.03)
