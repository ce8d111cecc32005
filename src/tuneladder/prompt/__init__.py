"""Room 4, a catalogue: every file is a step that changes the prompt and no weight; the folder is the registry."""
