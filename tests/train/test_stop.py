from __future__ import annotations

import os
import signal
import threading

import pytest

from ganstyle.train.stop import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_told_once(number: signal.Signals) -> None:
    told: list[str] = []
    before = signal.getsignal(number)
    with StopRequest(told.append) as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal == number
        assert len(told) == 1
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == number, "the first one counts"
        assert len(told) == 1
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_further_ctrl_c_stops_at_once(first: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupted() -> None:
        with StopRequest(lambda _: None):
            os.kill(os.getpid(), first)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_signals_keep_their_meaning() -> None:
    before = signal.getsignal(signal.SIGINT)
    entered: list[bool] = []

    def work() -> None:
        with StopRequest(lambda _: None) as stop:
            entered.append(stop.signal is None and signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [True]
