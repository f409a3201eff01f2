"""Evaluation in three stages with files between: problems, samples, results. Only sampling needs the model.

Read in this order: `datasets` (the benchmark files), `problems`, `completion`, `infilling` and `babelcode`
(the tasks), `records` (the files between), `runner` (samples), `sandbox`, `in_box`, `execution` (verdicts),
`metrics`, `report`. `python -m keras_codegemma.evaluation` runs the stages.
"""
