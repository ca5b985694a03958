"""`python -m twostream.cli`."""

from twostream.cli.commands import main

if __name__ == "__main__":
    main()
