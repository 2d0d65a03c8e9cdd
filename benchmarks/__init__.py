"""One script per question, each with its last results in `results/`."""
