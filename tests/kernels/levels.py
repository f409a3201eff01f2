"""Instruction set levels in tests."""

from keras_codegemma.kernels import native


def runs_at(level: str) -> bool:
    """Limits the kernels to a level; False where this processor lacks its instructions, as it then says."""
    try:
        native.limit_level(level)
    except ValueError as error:
        assert "this processor lacks its instructions" in str(error)  # noqa: PT017 (levels differ by machine)
        return False
    return True
