"""Starts the page: ``python app.py``, then open the address that it prints."""

from dynamicvit.app.main import main

if __name__ == "__main__":
    main()
