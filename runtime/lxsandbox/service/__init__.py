"""The service: one process for each run, which owns the run's sandboxes and removes them when their owners have gone."""
