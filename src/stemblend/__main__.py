"""`python -m stemblend`: the command line, for launchers such as `torchrun -m stemblend`."""

from stemblend.cli import main

if __name__ == "__main__":
    main()
