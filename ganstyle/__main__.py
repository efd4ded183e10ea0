"""`python -m ganstyle` is `ganstyle`."""

from ganstyle.cli import main

main()
