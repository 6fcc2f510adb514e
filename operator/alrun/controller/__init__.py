"""The operator's shell: what keeps the decisions of core going against a live cluster."""
