"""`python -m seqloom`: the command line, also under torchrun."""

from seqloom.cli import main

if __name__ == "__main__":
    main()
