"""From a preset's name or handle to a local folder, through the publishers' own clients and their caches.

| handle | client, imported when needed | files lie in |
| --- | --- | --- |
| `kaggle://org/model/keras/variation[/version]` | kagglehub | its cache |
| `hf://org/name[@revision]` | huggingface_hub | its cache |
| `gs://bucket/folder` | gcsfs | `$KERAS_HOME/models`, as KerasHub does |
| a path | none | where it is |
"""

import importlib
import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from keras_codegemma.presets.registry import builtin_presets, unknown_preset

GEMMA_TERMS = "https://ai.google.dev/gemma/terms"

# The Hugging Face repositories also hold GGUF and pickles, which nobody needs here.
_SMALL_FILES = ("*.json", "*.md", "*.model", "*.spm", "assets/**")
_WEIGHT_FILES = ("*.safetensors", "*.h5")
_KAGGLE_FORM = re.compile(r"[^/\s]+/[^/\s]+/[^/\s]+/[^/\s]+(/\d+)?")
_HUGGING_FACE_FORM = re.compile(r"[\w.-]+/[\w.-]+(@[^\s@]+)?")


def resolve(preset: str | os.PathLike[str], *, revision: str | None = None, load_weights: bool = True) -> Path:
    """The local folder of a preset, fetched first if need be.

    Args:
        preset: a built-in name, a `kaggle://`, `hf://` or `gs://` handle, or a local folder.
        revision: a Kaggle version number, or a branch, tag or commit on Hugging Face; None for the handle's
            own.
        load_weights: False fetches no weight file, where the source allows to choose.

    Raises:
        ValueError: nothing of that name, a handle of wrong form, or a revision for something that has none.
        ImportError: the client that this handle needs is not installed.
        PermissionError: terms must be accepted or a login is missing; says where and how.
        FileNotFoundError: the publisher has no such model or revision.
        ConnectionError: the publisher could not be reached, and the model is not in the cache.
    """
    name = os.fspath(preset)
    info = builtin_presets().get(name)
    if info is not None and info.sources:
        return _fetch(info.sources[0].handle, revision=revision, load_weights=load_weights)
    if "://" in name:
        return _fetch(name, revision=revision, load_weights=load_weights)
    folder = info.folder if info is not None else Path(name).expanduser()
    if folder is None or not folder.exists():
        raise ValueError(unknown_preset(name))
    if revision is not None:
        raise ValueError(
            f"A revision belongs to a kaggle:// or hf:// handle; got revision={revision!r} for {name}. Leave it out."
        )
    return folder


def _fetch(handle: str, *, revision: str | None, load_weights: bool) -> Path:
    scheme, _, rest = handle.partition("://")
    fetchers: dict[str, Callable[..., Path]] = {
        "kaggle": _fetch_kaggle,
        "hf": _fetch_hugging_face,
        "gs": _fetch_gs,
    }
    if scheme not in fetchers:
        raise ValueError(
            f"A preset handle must start with {', '.join(f'{known}://' for known in fetchers)}; got "
            f"{handle!r}. Use one of these, or download the folder and give its path."
        )
    return fetchers[scheme](rest, revision=revision, load_weights=load_weights)


def _client(module: str, *, package: str, extra: str, scheme: str) -> Any:
    """Imports an optional client.

    Raises:
        ImportError: how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{scheme}:// presets are fetched with {package}, which is not installed here ({error}). "
            f"Install it: pip install {package}, or pip install 'keras-codegemma[{extra}]'."
        ) from error


def _fetch_kaggle(
    rest: str, *, revision: str | None, load_weights: bool
) -> Path:  # load_weights: Kaggle's client fetches a model whole
    if not _KAGGLE_FORM.fullmatch(rest):
        raise ValueError(
            "A Kaggle handle must look like kaggle://org/model/keras/variation[/version]; got "
            f"'kaggle://{rest}'. Example: kaggle://keras/codegemma/keras/code_gemma_2b_en/2."
        )
    parts = rest.split("/")
    if revision is not None:
        parts = [*parts[:4], str(revision)]
    handle = "/".join(parts)
    kagglehub = _client("kagglehub", package="kagglehub", extra="kaggle", scheme="kaggle")
    errors = importlib.import_module("kagglehub.exceptions")
    requests = importlib.import_module("requests")  # its HTTP client, with it installed
    page = "https://www.kaggle.com/models/" + "/".join(parts[:2])
    try:
        return Path(kagglehub.model_download(handle))
    except (errors.UnauthenticatedError, errors.CredentialError) as error:
        raise PermissionError(_kaggle_terms(handle, page, error)) from error
    except errors.KaggleApiHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise PermissionError(_kaggle_terms(handle, page, error)) from error
        if status == 404:
            raise FileNotFoundError(
                f"Kaggle must have the model kaggle://{handle}; it answered 404. Check the name and version on {page}."
            ) from error
        raise ConnectionError(_unreachable(f"kaggle://{handle}", error)) from error
    except requests.ConnectionError as error:
        raise ConnectionError(_unreachable(f"kaggle://{handle}", error)) from error


def _kaggle_terms(handle: str, page: str, error: Exception) -> str:
    return (
        f"kaggle://{handle} may be fetched by users who accepted its terms and are logged in; Kaggle "
        f"refused ({_first_line(error)}). 1. Accept the terms ({GEMMA_TERMS}) on {page}, in a browser. 2. "
        "Make an API token on https://www.kaggle.com/settings and log in: kagglehub.login(), or set "
        "KAGGLE_USERNAME and KAGGLE_KEY."
    )


def _fetch_hugging_face(rest: str, *, revision: str | None, load_weights: bool) -> Path:
    if not _HUGGING_FACE_FORM.fullmatch(rest):
        raise ValueError(
            "A Hugging Face handle must look like hf://org/name or hf://org/name@revision; got "
            f"'hf://{rest}'. Example: hf://google/codegemma-2b."
        )
    repository, _, named_revision = rest.partition("@")
    if revision is not None and named_revision and revision != named_revision:
        raise ValueError(f"A revision can be given once; got revision={revision!r} and hf://{rest}. Leave one out.")
    revision = revision or named_revision or None
    hub = _client("huggingface_hub", package="huggingface_hub", extra="huggingface", scheme="hf")
    errors = importlib.import_module("huggingface_hub.errors")
    patterns = [*_SMALL_FILES, *(_WEIGHT_FILES if load_weights else ())]
    page = f"https://huggingface.co/{repository}"
    try:
        return Path(hub.snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except errors.GatedRepoError as error:
        raise PermissionError(_hugging_face_terms(repository, page, error)) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"Hugging Face must have {repository}{f' at revision {revision}' if revision else ''}, open to "
            f"you; it does not ({_first_line(error)}). Check the name on {page}; a private one needs a "
            "login: hf auth login."
        ) from error
    except errors.HfHubHTTPError as error:
        if getattr(error.response, "status_code", None) in (401, 403):
            raise PermissionError(_hugging_face_terms(repository, page, error)) from error
        raise ConnectionError(_unreachable(f"hf://{repository}", error)) from error
    except (errors.LocalEntryNotFoundError, ConnectionError) as error:
        raise ConnectionError(_unreachable(f"hf://{repository}", error)) from error


def _hugging_face_terms(repository: str, page: str, error: Exception) -> str:
    return (
        f"hf://{repository} may be fetched by users who accepted its terms and are logged in; Hugging Face "
        f"refused ({_first_line(error)}). 1. Log in and accept the terms ({GEMMA_TERMS}) on {page}, in a "
        "browser. 2. Make a token on https://huggingface.co/settings/tokens and log in: hf auth login, or "
        "set HF_TOKEN."
    )


def _unreachable(handle: str, error: Exception) -> str:
    return (
        f"Fetching {handle} needs its publisher to answer, or a copy in the local cache; it failed: "
        f"{_first_line(error)}. Check the connection and try again; a folder downloaded elsewhere can be "
        "given by its path."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _fetch_gs(rest: str, *, revision: str | None, load_weights: bool) -> Path:
    if revision is not None:
        raise ValueError(
            f"A gs:// folder has no revisions; got revision={revision!r}. Name the revision's own folder instead."
        )
    _client("gcsfs", package="gcsfs", extra="gcs", scheme="gs")
    return _fetch_files(f"gs://{rest}", load_weights=load_weights)


def _fetch_files(url: str, *, load_weights: bool) -> Path:
    """Copies a folder that fsspec can read into the cache, but for files there with the same size."""
    core = importlib.import_module("fsspec.core")
    target = _cache_folder(url)
    try:
        system, root = core.url_to_fs(url)
        remote = system.find(root, detail=True)
        if not remote:
            raise FileNotFoundError(f"{url} must be a folder with files; it is empty or missing. Check the path.")
        for path, entry in remote.items():
            name = PurePosixPath(path).relative_to(PurePosixPath(root))
            local = target / _inside(name, url=url)
            is_wanted = load_weights or not any(name.match(pattern) for pattern in _WEIGHT_FILES)
            if is_wanted and not (local.is_file() and local.stat().st_size == entry["size"]):
                local.parent.mkdir(parents=True, exist_ok=True)
                part = local.with_name(local.name + ".part")
                system.get_file(path, str(part))
                part.replace(local)
    except FileNotFoundError:
        raise
    except OSError as error:
        if "Forbidden" in str(error) or getattr(error, "code", None) in (401, 403):
            raise PermissionError(
                f"{url} must be readable by you; Google Cloud refused ({_first_line(error)}). Log in: "
                "gcloud auth application-default login, and ask the bucket's owner for access."
            ) from error
        raise ConnectionError(_unreachable(url, error)) from error
    return target


def _inside(name: PurePosixPath, *, url: str) -> Path:
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"Files of {url} must lie inside it; got {str(name)!r}. Do not trust this folder.")
    return Path(name)


def _cache_folder(url: str) -> Path:
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    return home / "models" / re.sub(r"://|/|-", "_", url)
