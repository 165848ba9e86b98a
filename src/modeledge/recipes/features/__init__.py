"""A frozen body run once over rows, and a classical head on its states."""
