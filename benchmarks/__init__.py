"""What jobctl reaches, measured: ``python -m benchmarks --help``. Nothing here judges a time."""
