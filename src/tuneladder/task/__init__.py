"""Room 1: from files and data sets to Examples; splits, leaks, templates, the one encode, and what `init` and `check` say."""
