def without_shuffling(script, patch):
    patch.setattr(script, "SHUFFLED", False)


OFF = [(without_shuffling, "walking through should end much nearer")]
