"""Tasks, one a file: a source, its encoding, the head, the metric, and the trivial score to beat."""
