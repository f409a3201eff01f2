"""A stand-in for the model in the harness' place: answers by a rule, and keeps what it was asked."""

from collections.abc import Callable
from typing import Any

from lm_eval.api.model import LM


class Scripted(LM):
    """Answers each request by a function of the harness' `Instance`.

    Args:
        likelihood: log-likelihood of a request's continuation.
        text: continuation of a request's prompt.
    """

    def __init__(
        self, *, likelihood: Callable[[Any], float] = lambda _: 0.0, text: Callable[[Any], str] = lambda _: ""
    ):
        super().__init__()
        self._likelihood, self._text = likelihood, text
        self.asked: list[tuple[Any, ...]] = []

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        self.asked += [request.args for request in requests]
        return [(self._likelihood(request), False) for request in requests]

    def generate_until(self, requests: list[Any]) -> list[str]:
        self.asked += [request.args for request in requests]
        return [self._text(request) for request in requests]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        raise NotImplementedError
