"""Translate photos: `python scripts/translate.py photos out --model runs/ink`, as `ganstyle translate`.

`--method model` (the default) uses a trained model. `vgg` and `sparse` give one photo the look of one picture
(`--style`); they are not there yet, and say so.
"""

import argparse
import sys

from ganstyle.cli import main

parser = argparse.ArgumentParser(add_help=False)
parser.add_argument("--method", choices=("model", "vgg", "sparse"), default="model")
parser.add_argument("--style")
known, others = parser.parse_known_args()

if known.method != "model":
    print(f"error: --method {known.method} comes with a later version; use --method model --model RUN", file=sys.stderr)
    sys.exit(2)
if known.style is not None:
    print("error: --style goes with --method vgg or sparse, which come with a later version", file=sys.stderr)
    sys.exit(2)
sys.argv = ["ganstyle", "translate", *others]
main()
