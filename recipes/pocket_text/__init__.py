"""The text of the pocket bases that this project writes itself."""
