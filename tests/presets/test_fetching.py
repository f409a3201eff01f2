"""Names and handles to folders, through the clients' own exceptions, without a network."""

import sys
import types
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from keras_codegemma import presets
from keras_codegemma.presets import fetching

TINY = Path(__file__).parents[2] / "presets" / "code_gemma_tiny"


def test_an_unknown_preset_lists_names_and_the_closest():
    with pytest.raises(ValueError, match="must be a built-in name") as caught:
        presets.resolve("codegemma_2b_en")
    message = str(caught.value)
    assert "code_gemma_1.1_instruct_7b_en" in message
    assert "Did you mean code_gemma_2b_en" in message
    with pytest.raises(ValueError, match="Check the spelling or the path"):
        presets.resolve("/nowhere/at/all")
    with pytest.raises(ValueError, match="got 'llama'"):
        presets.find("llama")


def test_a_local_folder_is_itself(copy):
    assert presets.resolve(copy) == copy
    assert presets.resolve(str(copy)) == copy
    with pytest.raises(ValueError, match=r"A revision belongs to a kaggle:// or hf:// handle; got revision='1'"):
        presets.resolve(copy, revision="1")


@pytest.mark.parametrize(
    ("handle", "words"),
    [
        ("s3://bucket/model", "must start with kaggle://, hf://, gs://"),
        ("kaggle://keras/codegemma", "must look like kaggle://org/model/keras/variation"),
        ("hf://codegemma-2b", "must look like hf://org/name"),
        ("hf://google/codegemma-2b@", "must look like hf://org/name"),
    ],
)
def test_handles_of_wrong_form_are_refused(handle, words):
    with pytest.raises(ValueError, match=words):
        presets.resolve(handle)


@pytest.mark.parametrize(
    ("handle", "module", "extra"),
    [
        ("kaggle://keras/codegemma/keras/code_gemma_2b_en/2", "kagglehub", "kaggle"),
        ("hf://google/codegemma-2b", "huggingface_hub", "huggingface"),
        ("gs://bucket/folder", "gcsfs", "gcs"),
    ],
)
def test_a_missing_client_says_what_to_install(monkeypatch, handle, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install {module}, or pip install 'keras-codegemma\[{extra}\]'"):
        presets.resolve(handle)


def http_response(status: int):
    import requests  # kagglehub brings it

    response = requests.Response()
    response.status_code = status
    response.url = "https://example.org"
    return response


@pytest.fixture
def kaggle(monkeypatch):
    """A kagglehub whose download does what the test sets."""
    import kagglehub

    calls = []

    def download(handle, *args, **options):
        calls.append(handle)
        if isinstance(download.result, BaseException):
            raise download.result
        return str(download.result)

    monkeypatch.setattr(kagglehub, "model_download", download)
    return types.SimpleNamespace(calls=calls, set=lambda result: setattr(download, "result", result))


def test_official_names_are_fetched_from_kaggle_and_checked(kaggle, copy):
    kaggle.set(copy)
    assert presets.resolve("code_gemma_7b_en") == copy
    assert presets.resolve("code_gemma_7b_en", revision="4") == copy
    assert presets.resolve("kaggle://a/b/keras/c") == copy
    assert kaggle.calls == [
        "keras/codegemma/keras/code_gemma_7b_en/3",
        "keras/codegemma/keras/code_gemma_7b_en/4",
        "a/b/keras/c",
    ]
    with pytest.raises(ValueError, match="The files fetched for code_gemma_7b_en must describe its architecture"):
        presets.load("code_gemma_7b_en")


@pytest.mark.parametrize("status", [401, 403])
def test_kaggles_terms_are_explained(kaggle, status):
    from kagglehub.exceptions import KaggleApiHTTPError

    kaggle.set(KaggleApiHTTPError(f"{status} Client Error.\n\nlong text", response=http_response(status)))
    with pytest.raises(PermissionError, match="accepted its terms and are logged in") as caught:
        presets.load("code_gemma_2b_en")
    message = str(caught.value)
    assert "https://www.kaggle.com/models/keras/codegemma" in message
    assert "https://ai.google.dev/gemma/terms" in message
    assert "kagglehub.login(), or set KAGGLE_USERNAME and KAGGLE_KEY" in message
    assert "long text" not in message


def test_kaggles_other_answers_are_told_apart(kaggle):
    import requests
    from kagglehub.exceptions import CredentialError, KaggleApiHTTPError, UnauthenticatedError

    for error in (UnauthenticatedError(), CredentialError("no key")):
        kaggle.set(error)
        with pytest.raises(PermissionError, match="Accept the terms"):
            presets.resolve("code_gemma_2b_en")
    kaggle.set(KaggleApiHTTPError("404 Client Error.", response=http_response(404)))
    with pytest.raises(FileNotFoundError, match=r"it answered 404\. Check the name and version"):
        presets.resolve("kaggle://a/b/keras/c/9")
    for error in (
        KaggleApiHTTPError("500", response=http_response(500)),
        requests.ConnectionError("no route"),
    ):
        kaggle.set(error)
        with pytest.raises(ConnectionError, match="needs its publisher to answer, or a copy in the local cache"):
            presets.resolve("code_gemma_2b_en")


@pytest.fixture
def hugging_face(monkeypatch):
    """A huggingface_hub whose download does what the test sets."""
    import huggingface_hub

    calls = []

    def download(repository, **options):
        calls.append((repository, options))
        if isinstance(download.result, BaseException):
            raise download.result
        return str(download.result)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return types.SimpleNamespace(calls=calls, set=lambda result: setattr(download, "result", result))


def hub_error(name: str, status: int):
    """A huggingface_hub exception as its client raises it."""
    import httpx2 as httpx
    from huggingface_hub import errors

    response = httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co/x"))
    return getattr(errors, name)("refused\nmore", response=response)


def test_hugging_face_handles_name_repository_and_revision(hugging_face, copy):
    hugging_face.set(copy)
    presets.resolve("hf://google/codegemma-2b")
    presets.resolve("hf://google/codegemma-2b@v1.1")
    presets.resolve("hf://google/codegemma-2b", revision="abc", load_weights=False)
    assert [(name, options["revision"]) for name, options in hugging_face.calls] == [
        ("google/codegemma-2b", None),
        ("google/codegemma-2b", "v1.1"),
        ("google/codegemma-2b", "abc"),
    ]
    patterns = [options["allow_patterns"] for _, options in hugging_face.calls]
    assert "*.safetensors" in patterns[0]
    assert not any(pattern.endswith((".bin", ".gguf", "*")) and pattern != "assets/**" for pattern in patterns[0])
    assert "*.safetensors" not in patterns[2]
    with pytest.raises(ValueError, match="A revision can be given once"):
        presets.resolve("hf://google/codegemma-2b@v1", revision="v2")


@pytest.mark.parametrize(("name", "status"), [("GatedRepoError", 403), ("HfHubHTTPError", 401)])
def test_hugging_faces_terms_are_explained(hugging_face, name, status):
    hugging_face.set(hub_error(name, status))
    with pytest.raises(PermissionError, match=r"Hugging Face refused \(refused\)") as caught:
        presets.resolve("hf://google/codegemma-2b")
    message = str(caught.value)
    assert (
        "accept the terms (https://ai.google.dev/gemma/terms) on https://huggingface.co/google/codegemma-2b" in message
    )
    assert "hf auth login, or set HF_TOKEN" in message


def test_hugging_faces_other_answers_are_told_apart(hugging_face):
    from huggingface_hub.errors import LocalEntryNotFoundError

    for name in ("RepositoryNotFoundError", "RevisionNotFoundError"):
        hugging_face.set(hub_error(name, 404))
        with pytest.raises(FileNotFoundError, match="Hugging Face must have google/none at revision v9"):
            presets.resolve("hf://google/none@v9")
    for error in (hub_error("HfHubHTTPError", 500), LocalEntryNotFoundError("offline"), ConnectionError("x")):
        hugging_face.set(error)
        with pytest.raises(ConnectionError, match="needs its publisher to answer"):
            presets.resolve("hf://google/codegemma-2b")


@pytest.fixture
def bucket(monkeypatch, tmp_path) -> str:
    """The tiny preset in fsspec's memory file system, and a cache folder of its own."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    fsspec.filesystem("memory").put(str(TINY), f"/{tmp_path.name}/tiny", recursive=True)
    return f"memory://{tmp_path.name}"


def test_files_in_a_bucket_are_copied_once(bucket, monkeypatch):
    folder = fetching._fetch_files(f"{bucket}/tiny", load_weights=True)
    names = {path.relative_to(TINY) for path in TINY.rglob("*") if path.is_file()}
    assert {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} == names
    assert presets.load(folder).config.num_layers == 12
    copied = []
    get_file = MemoryFileSystem.get_file

    def recorded(self, path, *rest, **options):
        copied.append(Path(path).name)
        return get_file(self, path, *rest, **options)

    monkeypatch.setattr(MemoryFileSystem, "get_file", recorded)
    (folder / "task.json").write_text("cut off")
    assert fetching._fetch_files(f"{bucket}/tiny", load_weights=True) == folder
    assert copied == ["task.json"]


def test_weights_in_a_bucket_are_left_there_when_not_asked_for(bucket):
    folder = fetching._fetch_files(f"{bucket}/tiny", load_weights=False)
    assert not list(folder.glob("*.h5"))
    assert presets.load(folder, load_weights=False).config.num_layers == 12


def test_a_bucket_that_is_missing_closed_or_far_away_says_so(bucket, monkeypatch):
    with pytest.raises(FileNotFoundError, match="must be a folder with files; it is empty or missing"):
        fetching._fetch_files(f"{bucket}/none", load_weights=True)

    def refuse(error):
        def find(self, *args, **options):
            raise error

        monkeypatch.setattr(MemoryFileSystem, "find", find)

    refuse(OSError("Forbidden: https://storage.googleapis.com\nlong"))
    with pytest.raises(PermissionError, match=r"gcloud auth application-default login"):
        fetching._fetch_files(f"{bucket}/tiny", load_weights=True)
    refuse(OSError("timeout"))
    with pytest.raises(ConnectionError, match="needs its publisher to answer"):
        fetching._fetch_files(f"{bucket}/tiny", load_weights=True)


def test_a_google_cloud_folder_has_no_revisions():
    with pytest.raises(ValueError, match=r"A gs:// folder has no revisions; got revision='2'"):
        presets.resolve("gs://bucket/folder", revision="2")
