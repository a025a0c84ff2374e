"""Where each number stands in the two arrays, `ints` and `reals`, that Python and the compiled loops share.

One call of the loop costs a fraction of a microsecond for each argument, so the many small numbers travel in two
arrays, and stay there between calls.
"""
(RULE, LOSS, STRIDE, MASK, COUNT, LIMIT, LEARN, BITS, HASH_ALL, CONSTANT, STOP, STATUS, EXAMPLES, FEATURES, LINES, OUT, ROOM,
 T, MODEL_EXAMPLES, MODEL_FEATURES, ADAPTIVE, NORMALIZED, INVARIANT, CUTS, FIELDS, CROSSES, VALUES, LAST_FEATURES, PER_WORD,
 FORMAT, GIVEN, COUNTED) = range(32)
LINE = 32                       # of each line in a block: start, line number, first feature, features, tag start, tag end
LINE_WIDTH, BLOCK = 6, 32
# of each field in a line: hash, letter, first feature, end, and the letter in its features' texts (the blank for bare names)
SEGMENT = LINE + LINE_WIDTH * BLOCK
SEGMENT_WIDTH, SEGMENTS = 5, 256
LETTERS = SEGMENT + SEGMENT_WIDTH * SEGMENTS               # the line's first letters, sorted, for crosses of any field
CROSS = LETTERS + SEGMENTS                                 # of each cross: by letter, members, and up to three of them
CROSS_WIDTH = 5

(LR, L1, L2, C, R, PHI, LAM, FLOOR, POWER_T, INITIAL_T, SEEN, SCALE, CUT, X, SUM, LOW, HIGH, SMALLEST, LARGEST, LARGEST_MARGIN,
 LARGEST_STORED, WEIGHT, HINGE, ZERO_ONE, MODEL_WEIGHT, MODEL_HINGE, MODEL_ZERO_ONE, MARGIN, PREDICTION, LAST_LABEL) = range(30)
LABEL = 32                      # of each line in a block: label (0: none), importance weight, base margin
LABEL_WIDTH = 3
REALS = LABEL + LABEL_WIDTH * BLOCK

(ONE_EVENT, MANY_EVENTS, MANY_ROWS) = range(3)                         # what a request in JSON holds
# of each event in it: its id's place in the text, its features' in the text without blanks, label, record in words, and the features'
# place in the text where Python has to write them anew
(ID, ID_END, TEXT, TEXT_END, Y, RECORD, RECORD_END, RAW, RAW_END) = range(9)
ROW = 9

RESULT_WIDTH = 8                # of each line put out: margin, prediction, label, weight, base margin, tag start, end, features

(VW, SVMLIGHT, CACHED, NAMES, KEYS, JSON) = range(6)                   # what the bytes are: many examples, or one
(DONE, STOPPED, BY_HAND, GROW, MORE_ROOM, BLOWN_UP) = range(6)         # why the loop returned

RULES = ("perceptron", "sgd", "pegasos", "asgd", "pa", "pa1", "pa2", "adagrad", "ftrl", "arow", "scw2", "nag")
(PERCEPTRON, SGD, PEGASOS, ASGD, PA, PA1, PA2, ADAGRAD, FTRL, AROW, SCW2, NAG) = range(12)
LOSSES = ("hinge", "squared_hinge", "logistic", "squared")
(HINGE_LOSS, SQUARED_HINGE, LOGISTIC, SQUARED) = range(4)
