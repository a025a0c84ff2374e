"""How many features share a slot of 2^bits: counted, beside what a fair hash would give (the birthday problem)."""
from math import ceil, expm1, log2

from linear.keys import scheme


def collisions(texts, bits, hash="strings"):
    """What becomes of distinct features, given as text, in 2^bits slots at VW's indices.

    Of n features about n (1 - exp(-(n - 1) / 2^bits)) share their slot with another, and n (n - 1) / 2^(bits + 1) pairs
    meet. The same estimate at 64 bits tells why exact keys need no care.

    >>> report = collisions([f"u=u{n}" for n in range(5000)], bits=16)
    >>> report["features"], report["sharing"], round(report["sharing_expected"])
    (5000, 370, 367)
    >>> report["pairs_expected_64"] < 1e-12
    True
    """
    of, slots = scheme(bits, hash).of, {}
    for text in texts:
        slots.setdefault(of(text), []).append(text)
    n, shared = len(texts), [names for names in slots.values() if len(names) > 1]
    return {"features": n, "bits": bits, "slots_used": len(slots), "sharing": sum(map(len, shared)),
            "sharing_expected": -n * expm1(-max(n - 1, 0) / 2 ** bits),
            "pairs": sum(len(names) * (len(names) - 1) // 2 for names in shared),
            "pairs_expected": n * (n - 1) / 2 ** (bits + 1), "pairs_expected_64": n * (n - 1) / 2 ** 65,
            "bits_for_one_percent": ceil(log2(max(n, 1) / 0.01)),
            "examples": [names[:3] for names in sorted(shared, key=len, reverse=True)[:5]]}
