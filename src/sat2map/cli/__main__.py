"""`python -m sat2map.cli` is `sat2map`."""

from sat2map.cli import main

if __name__ == "__main__":
    main()
