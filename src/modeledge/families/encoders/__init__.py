"""Pages of encoders: one a family, and what families of BERT's kind share."""
