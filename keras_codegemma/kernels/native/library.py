"""The built library in this process: found, opened, registered with JAX; or the reason why not, said once."""

import ctypes
import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import jax

from keras_codegemma.kernels.native.build import library_path

_LOGGER = logging.getLogger(__name__)

DISABLE = "KERAS_CODEGEMMA_NATIVE"
"""Set to 0, the library is not opened. `KERAS_CODEGEMMA_THREADS` sets its threads; by default, one a processor."""

INTERFACE = 10
"""What `codegemma_interface` in `source/ffi.cc` must return."""

TARGETS = (
    *("codegemma_nk", "codegemma_kn", "codegemma_rows", "codegemma_attend"),
    *("codegemma_gated", "codegemma_gated_backward"),
    *("codegemma_norm", "codegemma_add_norm", "codegemma_norm_backward", "codegemma_add_norm_backward"),
    *("codegemma_causal", "codegemma_causal_backward", "codegemma_many_kn", "codegemma_many_nk"),
    "codegemma_many_quantized",
    *("codegemma_loss", "codegemma_loss_backward"),
)


@dataclass(kw_only=True)
class _State:
    handle: ctypes.CDLL | None = None
    reason: str | None = None


_lock = threading.Lock()
_state: _State | None = None


def absence() -> str | None:
    """Why the native kernels cannot be called in this process, or None when they can."""
    return _loaded().reason


def reload() -> None:
    """Looks for the library again, after it was built. One that is open stays."""
    global _state  # noqa: PLW0603 (one library a process)
    with _lock:
        if _state is not None and _state.handle is None:
            _state = None


def level(dtype: str = "bfloat16") -> str | None:
    """The instruction set level for activations of this dtype, such as "avx512_bf16"; None without the library."""
    handle = _loaded().handle
    if handle is None:
        return None
    handle.codegemma_level.restype = ctypes.c_char_p
    return handle.codegemma_level(dtype == "bfloat16").decode()


def absence_at(name: str) -> str | None:
    """Why what only this level has cannot be called for bfloat16 activations, or None when it can."""
    if reason := absence():
        return reason
    found = level("bfloat16")
    return None if found == name else f"it needs the instructions of {name}, this processor's best is {found}"


def thread_count() -> int | None:
    """Threads that the kernels use; None without the library."""
    handle = _loaded().handle
    return None if handle is None else handle.codegemma_threads()


def limit_level(name: str | None) -> None:
    """Makes calls take no better level than this one; None takes the limit away. For tests and measurements.

    Raises:
        RuntimeError: no library.
        ValueError: an unknown level, or one that this processor cannot run.
    """
    loaded = _loaded()
    if loaded.handle is None:
        raise RuntimeError(f"Choosing a level needs the CPU kernels; {loaded.reason}.")
    result = loaded.handle.codegemma_limit_level(None if name is None else name.encode())
    if result:
        why = "there is no such level" if result == 1 else "this processor lacks its instructions"
        raise ValueError(f"A level must be one of this processor's; got {name!r}: {why}. Pass None for the best.")


def _loaded() -> _State:
    global _state  # noqa: PLW0603 (one library a process)
    with _lock:
        if _state is None:
            _state = _load(library_path())
            if _state.reason is not None:
                _LOGGER.info("The native CPU kernels are not used: %s.", _state.reason)
        return _state


def _load(path: Path) -> _State:
    if os.environ.get(DISABLE) == "0":
        return _State(reason=f"{DISABLE}=0 turns them off")
    if not path.is_file():
        return _State(reason="they are not built; `codegemma doctor --build` does that")
    try:
        handle = ctypes.CDLL(str(path))
        interface = handle.codegemma_interface()
        capsules = {name: jax.ffi.pycapsule(getattr(handle, name)) for name in TARGETS}
    except (OSError, AttributeError) as error:
        # Built for another processor or system, or cut off.
        return _State(reason=f"{path} cannot be opened ({error}); `codegemma doctor --build --force` builds it again")
    if interface != INTERFACE:
        return _State(reason=f"{path} has interface {interface}, not {INTERFACE}; build it again")
    for name, capsule in capsules.items():
        jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    return _State(handle=handle)
