"""Train a style model: `python scripts/train.py cyclegan-lite data.a=photos data.b=paintings`, as `ganstyle train`."""

import sys

from ganstyle.cli import main

if __name__ == "__main__":  # a loader worker that is spawned imports this file again
    sys.argv = ["ganstyle", "train", *sys.argv[1:]]
    main()
