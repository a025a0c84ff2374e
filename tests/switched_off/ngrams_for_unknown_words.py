from tinygrad_lite.vectors import WordVectors


def with_letters_only(script, patch):
    patch.setattr(script, "MINN", 1), patch.setattr(script, "MAXN", 1)


def with_vectors_of_other_words(script, patch):
    invented = script.invented

    def shuffled(rng):
        v = invented(rng)
        return WordVectors(v.words, rng.permutation(v.vectors))
    patch.setattr(script, "invented", shuffled)


OFF = [(with_letters_only, "the spelling should tell an unknown word's vector"),
       (with_vectors_of_other_words, "the spelling should tell an unknown word's vector")]
