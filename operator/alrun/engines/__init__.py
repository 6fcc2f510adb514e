"""Step + resource -> Job manifest. Pure. One folder per engine."""
