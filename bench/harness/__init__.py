"""What the benchmarks share: the pipelines they serve, the processes they compare, the topics between, the tables."""
