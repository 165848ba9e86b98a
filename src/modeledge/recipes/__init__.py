"""Whole runs, as functions: from files and labels to a model, its marks and its report."""
