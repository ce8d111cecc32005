"""The suites; a file's name is its suite's name.

A file holds `parts`, a tuple of `evaluate.suite.Suite`: one of the file's name, or several as `glue/cola`. `averaged` says that the
parts are known by the mean of their figures. Prompts and figures are those of lm-eval's tasks of these names where the docstring
says so, word for word, so that scores can be set beside published ones.
"""
