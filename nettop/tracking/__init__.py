"""From raw kernel records to rows: correlation, attribution and naming, without touching the kernel."""
