from tinygrad_lite import schedules


def with_one_missing(pictures, patch):
    patch.setitem(pictures.FAMILIES, "Caffe's", pictures.FAMILIES["Caffe's"][1:])


def with_one_that_remembers(pictures, patch):
    class Forgetful(schedules.Fixed):
        def __call__(self, t, asked=[0]):
            asked[0] += 1
            return 0.1 / asked[0]
    patch.setitem(pictures.FAMILIES, "Caffe's", [Forgetful(0.1), *pictures.FAMILIES["Caffe's"]])
    patch.setattr(pictures.S, "ALL", (*schedules.ALL, Forgetful))


OFF = [(with_one_missing, "without: ['Fixed']"), (with_one_that_remembers, "asked in another order it should say the same")]
