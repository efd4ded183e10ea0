"""Translate photos: `python scripts/translate.py photos out --model runs/ink`, as `ganstyle translate`.

`--method model` (the default) uses a trained model. `vgg` and `sparse` give photos the look of one picture, as
`ganstyle stylize` does: `python scripts/translate.py --method sparse --style ink.jpg photos out`.
"""

import argparse
import sys

from ganstyle.cli import main


def words(known: argparse.Namespace, others: list[str]) -> list[str] | str:
    """The command line of the verb that does it, or what is wrong."""
    if known.method == "model":
        return "--style goes with --method vgg or sparse" if known.style else ["translate", *others]
    if known.style is None and not {"-h", "--help"} & set(others):
        return f"--method {known.method} needs --style PICTURE"
    style = [] if known.style is None else ["--style", known.style]
    return ["stylize", *others, *style, "--method", known.method]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--method", choices=("model", "vgg", "sparse"), default="model")
    parser.add_argument("--style")
    known, others = parser.parse_known_args()
    found = words(known, others)
    if isinstance(found, str):
        print(f"error: {found}", file=sys.stderr)
        sys.exit(2)
    if "--help" in others or "-h" in others:
        print(f"{__doc__}\n  --method model|vgg|sparse   model by default")
        print("  --style PICTURE             for vgg and sparse\n")
    sys.argv = ["ganstyle", *found]
    main()
