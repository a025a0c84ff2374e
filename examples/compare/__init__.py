"""The parts of compare_pytorch.py: libraries.py gives the two one set of names, items.py lists what is compared."""
