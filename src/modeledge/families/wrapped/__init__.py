"""An architecture that has no page here, wrapped whole behind the same contract."""
