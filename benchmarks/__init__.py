"""Speed, memory and scaling, measured: `python -m benchmarks.NAME`."""
