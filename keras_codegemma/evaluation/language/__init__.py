"""Language and mathematics benchmarks through lm-evaluation-harness, with our model as its `LM` and local files.

`TASKS` says what there is, `run` scores a model, `read` gives the results to a report. Prompts and scoring are the
harness' own task definitions; what differs stands in each task's `deviation`. Read in this order: `tasks`, `rows`
(benchmark files to problems), `running`, `harness` (the only file that drives lm_eval), `model` (our model as its
`LM`), `likelihood` and `continuation` (what it asks of the model), `answers` (what an interrupted run has already),
`results`. Neither Keras nor lm_eval is imported before `run` needs it.
"""

from keras_codegemma.evaluation.language.results import Figure, Result, read
from keras_codegemma.evaluation.language.running import run
from keras_codegemma.evaluation.language.tasks import TASKS, LanguageTask

__all__ = ["TASKS", "Figure", "LanguageTask", "Result", "read", "run"]
