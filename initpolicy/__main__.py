"""`python -m initpolicy` is the command `initpolicy`."""

from initpolicy.cli import main

if __name__ == "__main__":
    main()
