"""Benchmarks: programs that measure and report. `README.md` says what each one measures."""
