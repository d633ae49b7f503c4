"""Studies of trained models and of training itself: one folder a study, its `command` is `neogpt study NAME`."""
