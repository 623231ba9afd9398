"""What `make bench` runs. Not shipped: the wheel has no benchmarks in it."""
