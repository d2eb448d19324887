import logging

import pytest

from darkroom.kernels.backend import TORCH, choose


def test_a_cpu_computes_by_the_definitions_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert choose("cpu") is TORCH
    assert "on cpu" in caplog.text
