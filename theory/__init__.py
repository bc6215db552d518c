"""The theorems of arXiv 2311.05139, and what lies beyond them, checked numerically."""
