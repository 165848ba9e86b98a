"""Adapters as files: written beside nothing else, opened on their base, folded into it when that is wanted."""
