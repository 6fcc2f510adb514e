"""What a person runs: `alrun …`, also reachable as `kubectl alrun …`."""
