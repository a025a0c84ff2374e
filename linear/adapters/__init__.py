"""The learner in other libraries' clothes: `adapters.river` and `adapters.sklearn`. Each needs its library, an extra."""
