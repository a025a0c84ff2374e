"""From bytes to keys: the 64-bit hash of the exact engine, and Vowpal Wabbit's 32-bit one for `bits=`.

HASH64, chosen once; its id stands in every model file with 64-bit keys, and changing one bit of it needs a new id:

    hash64(bytes, seed):  h = seed
                          for each 8 bytes w, little-endian:      h = (h ^ w) A;  h ^= h >> 32
                          the 0 to 7 bytes left, zeros after them: h = (h ^ w) A
                          h ^= length;  h ^= h >> 32;  h *= B;  h ^= h >> 32          (all mod 2^64)
    field seed            hash64(field, seed S); the field without a name has hash64(b"", S)
    key of a feature      hash64(name, seed = field seed)
    key of a cross        cross64(a, b): h = a C + b;  h ^= h >> 32;  h *= B;  h ^= h >> 32; a*b*c is cross64(cross64(a, b), c)

Within a field, names of one length up to 7 bytes never collide: each step is a bijection. A key that comes to 0
becomes 1, since 0 marks an empty slot. Names are hashed as their UTF-8 bytes, so text in any format agrees; no
name, not even one of digits, skips the hash, and nothing depends on PYTHONHASHSEED.

`tests/linear/test_linear_hashing.py` has the test vectors, `linear.kernels.hashes` the numba form.
"""
HASH64_ID = "linear-hash64-1"
MASK = 0xFFFFFFFFFFFFFFFF
A, B, C = 0x9FB21C651E98DF25, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD     # odd, about half of their bits set
S = 0x5851F42D4C957F2D
VW_CONSTANT, VW_CROSS = 11650396, 16777619


def hash64(data, seed=S):
    """The 64-bit hash of bytes (formula: top of this file).

    >>> hex(hash64(b"user")), hex(hash64(b"u1", seed=hash64(b"user")))
    ('0xd5a59ea7ae0dd791', '0x3d147efba49725c3')
    """
    h, whole = seed, len(data) & ~7
    for at in range(0, whole, 8):
        h = (h ^ int.from_bytes(data[at:at + 8], "little")) * A & MASK
        h ^= h >> 32
    h = (h ^ int.from_bytes(data[whole:], "little")) * A & MASK
    return _finish(h ^ len(data))


def cross64(a, b):
    """The key of a cross from its members' keys, the order counts.

    >>> cross64(1, 2) == cross64(2, 1), hex(cross64(1, 2))
    (False, '0x152d77f9274ba931')
    """
    return _finish((a * C + b) & MASK)


def _finish(h):
    h ^= h >> 32
    h = h * B & MASK
    return h ^ h >> 32 or 1


def murmur3(data, seed=0):
    """MurmurHash3_x86_32 of bytes (Appleby, public domain).

    >>> hex(murmur3(b"hello")), hex(murmur3(b"hello", 1))
    ('0x248bfa47', '0xbb4abcad')
    """
    h, whole = seed & 0xFFFFFFFF, len(data) & ~3
    for at in range(0, whole, 4):
        h ^= _scrambled(int.from_bytes(data[at:at + 4], "little"))
        h = ((h << 13 | h >> 19) * 5 + 0xE6546B64) & 0xFFFFFFFF
    h ^= _scrambled(int.from_bytes(data[whole:], "little")) ^ len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return h ^ h >> 16


def _scrambled(k):
    k = k * 0xCC9E2D51 & 0xFFFFFFFF
    return (k << 15 | k >> 17) * 0x1B873593 & 0xFFFFFFFF


def vw_hash(data, seed=0, digits=True):
    """VW's hash of a name: control characters and blanks are trimmed, a number is its value plus the seed (`--hash
    strings`, digits=True), everything else murmur3. `--hash all` is digits=False.

    >>> vw_hash(b"feature") % 2**18, vw_hash(b"feature", vw_hash(b"namespace")) % 2**18, vw_hash(b"12", seed=5)
    (118880, 242309, 17)
    """
    start, end = 0, len(data)
    while start < end and data[start] <= 32:
        start += 1
    while start < end and data[end - 1] <= 32:
        end -= 1
    data = data[start:end]
    if digits and not data.strip(b"0123456789"):
        return (int(data or b"0") + seed) & 0xFFFFFFFF if len(data) < 4000 else (_long(data) + seed) & 0xFFFFFFFF
    return murmur3(data, seed)


def _long(digits):
    """The value mod 2^32 of more digits than Python's int() takes at once."""
    value = 0
    for digit in digits:
        value = (value * 10 + digit - 48) & 0xFFFFFFFF
    return value


def octets(text):
    """The bytes of a name: UTF-8; bytes that were no UTF-8 come back as they were, half surrogates have their own.

    >>> octets("h\\u00e9"), octets(b"\\xff".decode("utf-8", "surrogateescape"))
    (b'h\\xc3\\xa9', b'\\xff')
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
