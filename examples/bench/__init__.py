"""The parts of benchmark.py: table.py says what a row is, libraries.py gives the peers one set of names, the rest are rows."""
