from __future__ import annotations

import pytest

from ganstyle.base.errors import RunFailed, UserError, one_line, printable


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("a\n  b\t c\r\n"), "a b c"),
        (ValueError(), "ValueError"),
        (RuntimeError(" \n "), "RuntimeError"),
        (KeyError("x"), "'x'"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
    ],
)
def test_any_exception_on_one_line(error: Exception, text: str) -> None:
    assert one_line(error) == text


def test_a_mistake_and_a_failure_are_told_apart() -> None:
    assert not issubclass(UserError, RunFailed)
    assert not issubclass(RunFailed, UserError)


def test_printable_text_steers_no_terminal() -> None:
    assert printable("a\nb\x1b[31m\udcffé日") == "a\\nb\\x1b[31m\\udcffé日"
    assert printable("a\nb", keep="\n") == "a\nb"
