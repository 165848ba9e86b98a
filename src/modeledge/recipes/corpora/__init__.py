"""From files to a corpus: what a recipe says of texts, and the runs that clean, mix, pack and describe them."""
