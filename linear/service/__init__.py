"""The streaming service: an event log, one learner that reads it in order, snapshots that answer, and checkpoints.

    log       what happened: events with features, labels, commands, each acknowledged only when it is on disk
    fold      what it means: state = fold(initial, events in log order), the one line that everything here protects
    state     where we were: position, weights and all else, as one file, checked before it is believed
"""
