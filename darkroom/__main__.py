"""`python -m darkroom` is the command `darkroom`."""

from darkroom.daemon.cli import main

if __name__ == "__main__":
    main()
