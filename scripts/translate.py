"""Translate photos: `python scripts/translate.py photos out --model runs/ink`, as `ganstyle translate`.

`--method model` (the default) uses a trained model. `vgg` and `sparse` give one photo the look of one picture
(`--style`); they are not there yet, and say so.
"""

import argparse
import sys

from ganstyle.cli import main


def refused(known: argparse.Namespace) -> str | None:
    """What cannot be done yet, or None."""
    if known.method != "model":
        return f"--method {known.method} comes with a later version; use --method model --model RUN"
    if known.style is not None:
        return "--style goes with --method vgg or sparse, which come with a later version"
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--method", choices=("model", "vgg", "sparse"), default="model")
    parser.add_argument("--style")
    known, others = parser.parse_known_args()
    if reason := refused(known):
        print(f"error: {reason}", file=sys.stderr)
        sys.exit(2)
    if "--help" in others or "-h" in others:
        print(f"{__doc__}\n  --method model|vgg|sparse   model by default")
        print("  --style PICTURE             for vgg and sparse\n")
    sys.argv = ["ganstyle", "translate", *others]
    main()
