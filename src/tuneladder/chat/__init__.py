"""Room 8: a talk with one variant, in a terminal or by a script."""
