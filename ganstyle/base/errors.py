"""What went wrong, told in one line."""

# The environment variable of processes that train together, set by the one that started them and tells of failures.
LAUNCHER = "GANSTYLE_LAUNCHER"


class UserError(Exception):
    """A mistake that a person can mend: says what was got, what was expected and what to do.

    The command line prints the message as one line and ends with exit code 2; it never shows a traceback for one.
    """


class RunFailed(Exception):
    """Something that went wrong in a run without being a person's mistake, such as a loss that became non-finite.

    The command line prints the message as one line and ends with exit code 1.
    """


class ToldElsewhere(RunFailed):
    """A failure that another process of the same run has told; the command line ends with its exit code and no word."""

    def __init__(self, code: int) -> None:
        super().__init__("another process of this run has said why it ended")
        self.code = code


def printable(text: str, *, keep: str = "") -> str:
    """Text that a terminal shows as it is: line ends, control characters and broken names are written as escapes."""
    return "".join(each if each.isprintable() or each in keep else ascii(each)[1:-1] for each in text)


def one_line(error: BaseException) -> str:
    """The message of any exception on one line, its type in front when the message alone says nothing."""
    text = " ".join(str(error).split())
    return text or type(error).__name__
