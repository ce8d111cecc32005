"""`python -m tuneladder` is the command `tuneladder`, for where that is not on the path."""

from tuneladder.cli import main

if __name__ == "__main__":
    main()
