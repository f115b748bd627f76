"""Where user Python runs (a pool of warm worker processes), and where secrets come from and are masked."""
