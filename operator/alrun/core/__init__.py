"""Pure decisions: the same facts always give the same plan. No I/O, no clock, no kopf."""
