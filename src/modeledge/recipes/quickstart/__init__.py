"""The quickstart: the whole column on real text, its comparison and its report."""
