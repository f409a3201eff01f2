"""Getting the benchmark files: from their origins, from TensorFlow Datasets or from a folder of the user's own.

Whatever the way, a file is kept only if its contents have the pinned sha256 (`datasets`), and it stands under its name
only when it is complete. `download` brings bytes, `forms` makes rows of them, `tensorflow_sets` asks TFDS, `layout`
puts the files into place.
"""

from keras_codegemma.evaluation.fetching.layout import Fetched, fetch, files_of, offered

__all__ = ["Fetched", "fetch", "files_of", "offered"]
