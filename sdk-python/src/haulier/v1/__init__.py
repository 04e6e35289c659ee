"""Generated from the contract by `scripts/generate.py`. Private: use the dataclasses of `haulier`."""
