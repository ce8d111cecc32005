"""Room 10: the pages, where people judge answers in a browser and the owner watches how far they agree."""
