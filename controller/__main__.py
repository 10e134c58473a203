"""`python -m controller` is the command `celltwin`."""

from controller.cli import main

if __name__ == "__main__":
    main()
