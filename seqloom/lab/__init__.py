"""The laboratory: comparisons, benches, gradients, laws, verdicts and reports."""
