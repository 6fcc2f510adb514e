"""Programs that stand in for those of others, as strict as they are."""
