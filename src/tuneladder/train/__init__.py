"""Room 5: the one loop, its batches and its losses."""
