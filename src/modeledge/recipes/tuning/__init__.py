"""From a model and labelled rows to an adapted model, in every form: one task, several, in stages, averaged."""
