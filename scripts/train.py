"""Train a style model: `python scripts/train.py cyclegan-lite data.a=photos data.b=paintings`, as `ganstyle train`."""

import sys

from ganstyle.cli import main

sys.argv = ["ganstyle", "train", *sys.argv[1:]]
main()
