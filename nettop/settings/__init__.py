"""Settings: what there is, which values it takes, and which one holds."""
