"""Pages of decoders: one a family, and what those that grew out of Llama share."""
