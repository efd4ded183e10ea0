"""Unpaired image style translation with GANs: train, translate, watch.

`ganstyle.load(model).translate(image)` and `ganstyle.stylize(photo, picture)` are the Python face; importing this
package imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganstyle.translate.onnx_runtime import OnnxTranslator
    from ganstyle.translate.translator import Translator

__version__ = "0.1.0"
__all__ = ["__version__", "load", "stylize"]


def load(model: Any, **options: Any) -> Translator | OnnxTranslator:
    """A model that is ready to translate: a run's folder or an exported file; see `ganstyle.verbs.runtimes.load`."""
    from ganstyle.verbs.runtimes import load as load_model  # noqa: PLC0415 - takes a moment to import

    return load_model(model, **options)


def stylize(content: Any, style: Any, **options: Any) -> Any:
    """A photo in the look of one picture, without training; see `ganstyle.verbs.stylize.stylize`."""
    from ganstyle.verbs.stylize import stylize as stylize_image  # noqa: PLC0415 - imports torch

    return stylize_image(content, style, **options)
