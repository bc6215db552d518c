"""What the benchmarks time, and how."""
