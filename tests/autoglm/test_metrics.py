# SPDX-License-Identifier: Apache-2.0
"""Requests that are counted when there is time: none is lost, and not many wait."""

from __future__ import annotations

import pytest

from autoglm.serve.metrics import MOST_TOLD, Metrics
from autoglm.serve.tally import Tally

NAME = "autoglm_requests_total"
LABELS = {"model": "small", "status": "200"}


@pytest.mark.parametrize(("more", "counted"), [(-1, None), (0, MOST_TOLD), (1, MOST_TOLD)])
def test_how_many_wait_to_be_counted(more: int, counted: int | None) -> None:
    metrics = Metrics([], Tally())
    for _ in range(MOST_TOLD + more):
        metrics.tell("small", 200, 0.003)
    assert metrics.registry.get_sample_value(NAME, LABELS) == counted
    assert f'{NAME}{{model="small",status="200"}} {MOST_TOLD + more}.0' in metrics.text().decode()
    seconds = metrics.registry.get_sample_value("autoglm_request_seconds_sum", {"model": "small"})
    assert seconds == pytest.approx(0.003 * (MOST_TOLD + more))


def test_each_by_model_and_status() -> None:
    metrics = Metrics([], Tally())
    for model, status in (("a", 200), ("a", 200), ("b", 200), ("a", 429), ("", 404)):
        metrics.tell(model, status, 1.0)
    metrics.count()
    metrics.count()
    found = [
        metrics.registry.get_sample_value(NAME, {"model": model, "status": status})
        for model, status in (("a", "200"), ("b", "200"), ("a", "429"), ("", "404"))
    ]
    assert found == [2, 1, 1, 1]
