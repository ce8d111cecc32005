"""Room 6, a catalogue: every file is a step that trains weights; the folder is the registry."""
