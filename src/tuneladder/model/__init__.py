"""A base looked at, weighed, timed, opened and asked."""
