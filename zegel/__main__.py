"""``zegel`` and ``python -m zegel``."""

from zegel.cli.main import main

if __name__ == "__main__":
    main()
