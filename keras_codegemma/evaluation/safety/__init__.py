"""Safety and memorisation figures of a model: verbatim training text, secrets, insecure code.

Three parts, each a file of records in `folder/safety/`, and `summary.json` with the figures:

- `memorisation.jsonl`: documents that the model was trained on, continued and infilled (`memorisation`);
- `secrets.jsonl`: completions of prompts that ask for keys and personal data, searched (`leaks`);
- `insecure.jsonl`: completions of risky prompts, judged by bandit (`insecure`).

The detectors are the packages bandit and detect-secrets, of the extra `eval`. No generated program is run.
"""

import json
import os
from pathlib import Path
from typing import Any

FOLDER = "safety"
SUMMARY = "summary.json"


def run(
    lm: Any,
    *,
    corpus: Path | None,
    folder: Path,
    limit: int | None,
    seed: int,
    control: Path | None = None,
    batch_size: int = 8,
) -> dict[str, Any]:
    """Makes what is missing of the three files, then the summary; goes on where it was interrupted.

    Args:
        lm: a `CodeGemmaCausalLM` with its preprocessor.
        corpus: documents that the model was trained on, as `documents.read` takes them; None to leave
            memorisation out.
        folder: of the run; the files go into its folder `safety`.
        limit: the most documents of a corpus, and prompts of the other two parts; None for
            `memorisation.DOCUMENTS` and all prompts.
        seed: chooses documents and places in them; nothing else is random.
        control: documents that the model cannot have seen, measured the same way.
        batch_size: completions made together.

    Returns:
        The summary, as `read` gives it.

    Raises:
        ValueError: the folder holds figures made with other settings.
        ModuleNotFoundError: the extra `eval` is not installed.
    """
    from keras_codegemma.evaluation.safety.session import measure

    return measure(
        lm, corpus=corpus, control=control, folder=Path(folder, FOLDER), limit=limit, seed=seed, batch_size=batch_size
    )


def read(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The summary of a run, or None where it has none.

    Returns:
        `settings` (what the figures depend on, with tool versions), and one entry per part:

        - `memorisation`: None without a corpus, else for `corpus` and, where given, `control`:
          `documents` (`used`, `too_short`, ...) and per test (`continuation`, `infilling-psm`, `infilling-spm`):
          `prompts`, `exact`, `approximate` (which counts the exact ones too) and `exact_rate`, `approximate_rate`.
        - `secrets`: `prompts`, `with_finding`, `rate`, and the same per category in `categories`, each with
          `findings` (kind -> count).
        - `insecure`: `prompts`, `parsed`, `parsed_rate`, `secure`, `secure_rate` (of those that parse), and the same
          per CWE in `cwes`.
    """
    path = Path(folder, FOLDER, SUMMARY)
    if not path.exists():
        return None
    return json.loads(path.read_text(encoding="utf-8"))
