"""The compiled loops of the fast engine: text to keys (`text`), keys to slots (`table`), slots to weights (`updates`), and
the loop over lines that ties them (`lines`). numba is imported, and a loop compiled, when the first compiled model
is made; compiled code is cached on disk, so each machine pays once.

`layout` says which number stands where in the arrays that Python and the loops share.
"""
