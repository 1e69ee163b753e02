"""Plans: how a training run is laid out over processes, and the strategies that do it."""
