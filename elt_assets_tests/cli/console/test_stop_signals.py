"""Signals become a request, and the handlers come back."""

from __future__ import annotations

import signal

from elt_assets.cli.console.stop_signals import stopping


def test_the_first_signal_requests_and_the_second_insists() -> None:
    with stopping() as stop:
        assert not stop.requested.is_set()
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested.is_set()
        assert not stop.insisted.is_set()
        signal.raise_signal(signal.SIGINT)
        assert stop.insisted.is_set()


def test_the_exit_status_is_that_of_the_signal() -> None:
    with stopping() as stop:
        signal.raise_signal(signal.SIGTERM)
    assert stop.exit_status == 143


def test_the_previous_signal_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stopping():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
