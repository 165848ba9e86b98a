"""A finished model is asked: answers, vectors, texts, marks and mistakes."""
