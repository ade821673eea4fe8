"""The runs of all experiments.

* `run`: the life of a run. It is handed a `task`, what an experiment trains;
  `classification` is the task of all that is selected by accuracy or perplexity.
* `program`: how programs that train begin and end.
* `network_settings`, `checks`: settings of several experiments.
* `phases`, `optimizers`, `image_data`, `scoring`, `run_callbacks`, `finite`: training.
* `folders`, `checkpoints`, `saved_files`, `log_format`, `names`: what is on disk.
* `results`, `summary`: results from a log, and the printed summary.
"""
