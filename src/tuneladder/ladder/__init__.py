"""Plan, climb, pick, report."""
