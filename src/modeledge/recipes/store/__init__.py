"""Models in and out: opened from a folder or a hub, converted, described, and pickles kept in a cage."""
