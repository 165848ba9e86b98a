"""`python -m modeledge` is the command `modeledge`."""

from modeledge.cli import main

if __name__ == "__main__":
    main()
