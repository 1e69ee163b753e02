"""Named models: an architecture a file, as values that a task completes with its frontend and head."""
