"""Evaluation in three stages with files between: problems, samples, results. Only sampling needs the model.

Read in this order: `datasets` (the benchmark files), `problems`, `completion`, `infilling` and `babelcode`
(the tasks), `table` (all of them), `records` and `settings` (the files between), `runner` and `model` (samples),
`timing`, `sandbox`, `in_box`, `execution` (verdicts), `metrics`, `report`. `codegemma eval` runs the stages. `language`
has the benchmarks of language and mathematics, `safety` memorisation and insecure code, `repository` problems from
code of your own, `fetching` gets the benchmark files.
"""
