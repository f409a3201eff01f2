"""Which implementation of an operation runs: the first that can on each platform, or the one that was named.

An operation is a list of implementations, best first, the last of which is the plain reference that runs anywhere.
Platforms are told apart when a program is lowered, not when it is traced, so a program traced on a machine without an
accelerator can be compiled for one. What was taken on this machine's own platform, and why not the others, is logged
once for each operation.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

_LOGGER = logging.getLogger(__name__)

REFERENCE = "reference"
PLATFORMS = ("cpu", "tpu", "cuda", "rocm")

OPERATIONS: "dict[str, Operation]" = {}
"""Every operation that was declared, by name."""

# A part of jit's cache keys, so that a function traced under one choice is traced again under another.
_asked_for = jax.make_user_context(default_value=None)
_logged: set[tuple[str, ...]] = set()


def using(implementation: str | None) -> AbstractContextManager[Any]:
    """Within it every operation runs this implementation, unless a call names its own.

    Args:
        implementation: "reference", or None for the best.

    Raises:
        ValueError: another name; those differ from operation to operation.
    """
    if implementation not in (None, REFERENCE):
        raise ValueError(
            f"All operations together can take {REFERENCE!r} or None, the best of each; got {implementation!r}. "
            "Name others at the single call."
        )
    return _asked_for(implementation)


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """One way to compute an operation.

    Attributes:
        name: what callers name it by.
        platforms: where it can run at all.
        supports: called with the operation's arguments (arrays or `ShapeDtypeStruct`s); None, or why it cannot.
        run: called with the operation's arguments.
        splits: whether XLA can split it over a mesh by itself; a foreign function it would run whole on every device.
    """

    name: str
    platforms: tuple[str, ...]
    supports: Callable[..., str | None]
    run: Callable[..., Any]
    splits: bool = True

    def refusal(self, platform: str, *arguments: Any, is_split: bool = False, **options: Any) -> str | None:
        """Why it cannot run there on these arguments, or None."""
        if platform not in self.platforms:
            return f"it is for {' and '.join(self.platforms)}, not {platform}"
        if is_split and not self.splits:
            return "the operands may lie on a mesh, and XLA cannot split it"
        return self.supports(*arguments, **options)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What runs, and what does not.

    Attributes:
        taken: the implementation.
        refused: the better ones by name, with the reason of each.
    """

    taken: Implementation
    refused: Mapping[str, str]


class Operation:
    """A function with several implementations; declaring it enters it in `OPERATIONS`.

    Args:
        name: as in logs and tables.
        implementations: best first; the last is the reference.
        examples: from a description to (arguments, options) of a typical call, made when asked for; `codegemma doctor`
            shows what runs them here.
    """

    def __init__(
        self,
        name: str,
        *implementations: Implementation,
        examples: Callable[[], Mapping[str, tuple[tuple[Any, ...], dict[str, Any]]]] = dict,
    ):
        assert implementations[-1].name == REFERENCE
        self.examples = examples
        self.name = name
        self.implementations = implementations
        OPERATIONS[name] = self

    def choose(self, platform: str, *arguments: Any, is_split: bool = False, **options: Any) -> Choice:
        """The first implementation that can run on a platform."""
        refused: dict[str, str] = {}
        for candidate in self.implementations:
            reason = candidate.refusal(platform, *arguments, is_split=is_split, **options)
            if reason is None:
                return Choice(taken=candidate, refused=refused)
            refused[candidate.name] = reason
        raise AssertionError(f"the reference of {self.name} refused: {refused}")

    def named(self, name: str, *arguments: Any, is_split: bool = False, **options: Any) -> Implementation:
        """The implementation of this name.

        Raises:
            ValueError: no such name, or it cannot run on this machine's platform or on these arguments.
        """
        by_name = {candidate.name: candidate for candidate in self.implementations}
        if name not in by_name:
            raise ValueError(
                f"An implementation of {self.name} must be one of {list(by_name)}; got {name!r}. "
                "Choose one, or None for the best."
            )
        if reason := by_name[name].refusal(this_platform(), *arguments, is_split=is_split, **options):
            raise ValueError(
                f"The implementation {name!r} of {self.name} must be able to run here; it cannot: {reason}. "
                "Pass implementation=None for the best that can."
            )
        return by_name[name]

    def __call__(
        self, *arguments: Any, implementation: str | None = None, is_split: bool = False, **options: Any
    ) -> Any:
        """Runs the named implementation, or on each platform the best.

        Args:
            *arguments: arrays, or pytrees of them.
            implementation: a name; None for the best, or for what `using` asks for.
            is_split: whether operands may lie on a mesh, and nothing but XLA splits the operation over it.
            **options: static.
        """
        name = implementation or _asked_for.value
        if name is not None:
            return self.named(name, *arguments, is_split=is_split, **options).run(*arguments, **options)
        choices = {platform: self.choose(platform, *arguments, is_split=is_split, **options) for platform in PLATFORMS}
        self._log(choices[this_platform()])
        taken = {platform: choice.taken for platform, choice in choices.items()}
        if len(set(map(id, taken.values()))) == 1:
            return next(iter(taken.values())).run(*arguments, **options)
        reference = self.implementations[-1]
        branches = {
            platform: partial(candidate.run, **options)
            for platform, candidate in taken.items()
            if candidate is not reference
        }
        return jax.lax.platform_dependent(*arguments, default=partial(reference.run, **options), **branches)

    def _log(self, choice: Choice) -> None:
        reasons = "".join(f"; not {name}: {reason}" for name, reason in choice.refused.items())
        # Reasons name shapes; the same decision for another shape is no news.
        decision = (self.name, choice.taken.name, *choice.refused)
        if decision not in _logged:
            _logged.add(decision)
            _LOGGER.info("%s runs as %s%s.", self.name, choice.taken.name, reasons)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What runs one typical call of an operation on this machine.

    Attributes:
        operation: its name.
        example: which call.
        taken: the implementation's name.
        refused: the better ones, with reasons.
    """

    operation: str
    example: str
    taken: str
    refused: Mapping[str, str]


def survey() -> list[Finding]:
    """What runs each declared operation's examples on this machine's platform."""
    platform = this_platform()
    found = []
    for operation in OPERATIONS.values():
        for example, (arguments, options) in operation.examples().items():
            choice = operation.choose(platform, *arguments, **options)
            found.append(
                Finding(operation=operation.name, example=example, taken=choice.taken.name, refused=choice.refused)
            )
    return found


def this_platform() -> str:
    """The name in `PLATFORMS` of the platform that programs run on unless told otherwise."""
    backend = jax.default_backend()
    if backend != "gpu":
        return backend
    return "rocm" if "rocm" in jax.devices()[0].client.platform_version.lower() else "cuda"


def anything(*_: Any, **__: Any) -> None:
    """The `supports` of a reference."""


def as_reference(run: Callable[..., Any]) -> Implementation:
    """The plain version, which runs on every platform."""
    return Implementation(name=REFERENCE, platforms=PLATFORMS, supports=anything, run=run)
