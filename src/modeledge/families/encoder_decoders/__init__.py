"""Pages of encoder–decoders: T5 and BART, and their multilingual kin."""
